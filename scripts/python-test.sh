#!/usr/bin/env bash
# scripts/python-test.sh [BIN_DIR]: installs client/python into a virtual environment of its own (packages from PyPI) and runs its
# tests, the end-to-end one against the qzo-server and qzo-worker in BIN_DIR (default build/release/bin).
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
QZO_SOURCE_DIR=$PWD
export QZO_BIN_DIR QZO_SOURCE_DIR
venv=build/python
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check "grpcio-tools==1.71.2" "setuptools>=68" wheel
$venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation "./client/python[test]"
cd client/python
exec "$OLDPWD/$venv/bin/python" -m pytest -q -p no:cacheprovider tests
