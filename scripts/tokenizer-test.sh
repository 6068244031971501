#!/usr/bin/env bash
# scripts/tokenizer-test.sh [TOKENIZE] [ARGUMENT…]: compares our tokenizers with PyPI's tokenizers and sentencepiece, in a virtual environment of its
# own, on 10,000 texts each, with the given program (default build/release/tests/tokenize). Arguments go to tests/tokenizers/compare.py.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-build/release/tests/tokenize}
shift || true
venv=build/tokenizers
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check "tokenizers==0.23.3" "sentencepiece==0.2.3" "gguf==0.19.0" "protobuf>=5"
exec $venv/bin/python tests/tokenizers/compare.py "$program" --gguf tests/golden/models/smollm2/tokenizer.gguf "$@"
