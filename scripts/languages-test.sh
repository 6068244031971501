#!/usr/bin/env bash
# scripts/languages-test.sh [BIN_DIR] [PYTEST ARGUMENT…]: builds the clients of examples/clients with Debian's packages and runs them
# against the real programs in BIN_DIR (default build/release/bin).
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
export QZO_BIN_DIR
shift || true
venv=build/languages
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check pytest==8.4.2
export PYTHONPATH=$PWD/tests/support
exec $venv/bin/python -m pytest -q -p no:cacheprovider tests/languages "$@"
