#!/usr/bin/env bash
# scripts/python-test.sh [BIN_DIR]: installs client/python and client/gateway into a virtual environment of their own (packages from
# PyPI) and runs their tests, the end-to-end ones against the programs in BIN_DIR (default build/release/bin): the official openai
# package among them. tests/cli drives qzoctl, tests/http/test_mapping.py compares the protos with their form in HTTP.
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
QZO_SOURCE_DIR=$PWD
PYTHONPATH=$PWD/tests/support:$PWD/scripts
export QZO_BIN_DIR QZO_SOURCE_DIR PYTHONPATH
venv=$PWD/build/python
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "grpcio-tools==1.71.2" "setuptools>=68" wheel openapi-spec-validator==0.9.0
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation "./client/python[test]" "./client/gateway[test]"
for tests in client/python/tests client/gateway/tests tests/cli tests/http/test_mapping.py; do
  "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$(dirname "$tests")" "$tests"
done
