#!/usr/bin/env bash
# scripts/gptq-test.sh [BIN_DIR]: an exported GPTQ checkpoint, read by AutoGPTQ from PyPI on the processor. PyTorch comes with it: 5 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
QZO_SOURCE_DIR=$PWD
export QZO_BIN_DIR QZO_SOURCE_DIR
venv=$PWD/build/gptq
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "auto-gptq==0.7.1" "torch==2.2.2" "transformers==4.41.2" "accelerate==0.31.0" \
  "peft==0.11.1" "datasets<3" "pyarrow<16" "numpy<2" safetensors sentencepiece pytest
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir tests/interop tests/interop/gptq_reader.py
