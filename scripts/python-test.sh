#!/usr/bin/env bash
# scripts/python-test.sh [BIN_DIR]: installs client/python and client/gateway into a virtual environment of their own (packages from
# PyPI) and runs their tests, the end-to-end ones against the programs in BIN_DIR (default build/release/bin): the official openai
# package among them. tests/cli drives qzoctl.
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
QZO_SOURCE_DIR=$PWD
PYTHONPATH=$PWD/tests/support
export QZO_BIN_DIR QZO_SOURCE_DIR PYTHONPATH
venv=$PWD/build/python
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "grpcio-tools==1.71.2" "setuptools>=68" wheel
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation "./client/python[test]" "./client/gateway[test]"
for tests in client/python/tests client/gateway/tests tests/cli; do
  "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$(dirname "$tests")" "$tests"
done
