#!/usr/bin/env bash
# scripts/interop-test.sh [BIN_DIR]: what qzoctl exports, read by programs from PyPI in a virtual environment of their own: mlx-lm, transformers'
# configuration, and llama.cpp (as xllamacpp, which comes built).
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
QZO_SOURCE_DIR=$PWD
export QZO_BIN_DIR QZO_SOURCE_DIR
venv=$PWD/build/interop
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "mlx[cpu]==0.32.4" "mlx-lm==0.32.2" "xllamacpp==2026.10.11549" "safetensors>=0.6" "gguf==0.19.0" numpy pytest
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir tests/interop tests/interop
