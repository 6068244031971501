#!/usr/bin/env bash
# scripts/browser-test.sh [BIN_DIR] [PYTEST ARGUMENT…]: the status page of the real programs in BIN_DIR (default build/release/bin) in
# a real Chromium. QZO_SCREENSHOTS=DIR keeps pictures of it: docs/img has them.
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
export QZO_BIN_DIR
shift || true
venv=build/browser
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check -r tests/browser/requirements.txt
export PYTHONPATH=$PWD/tests/support
exec $venv/bin/python -m pytest -q -p no:cacheprovider tests/browser "$@"
