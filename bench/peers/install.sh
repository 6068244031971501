#!/usr/bin/env bash
# Puts llama.cpp and PyTorch, which the engine is compared with, into .cache/peers/venv: from PyPI, the first built for this
# machine, the second some gigabytes with CUDA libraries that it does not use here. It takes a while, once.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=.cache/peers/venv
[ -f .cache/peers/complete ] && exit 0
mkdir -p .cache/peers
python3 -m venv "$venv"
CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON" nice "$venv/bin/pip" install --quiet --no-binary llama-cpp-python llama-cpp-python==0.3.36
nice "$venv/bin/pip" install --quiet torch==2.5.1 numpy gguf
touch .cache/peers/complete
