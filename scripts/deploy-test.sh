#!/usr/bin/env bash
# scripts/deploy-test.sh [BIN_DIR] [PYTEST ARGUMENT…]: holds everything in deploy/ to the real programs in BIN_DIR (default
# build/release/bin), to a real Prometheus and Helm's own renderer. Needs no cluster, no Docker and, once installed, no network.
set -euo pipefail
cd "$(dirname "$0")/.."
QZO_BIN_DIR=$(realpath "${1:-build/release/bin}")
export QZO_BIN_DIR
shift || true
venv=build/deploy
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/pip install --quiet --disable-pip-version-check -r tests/deploy/requirements.txt
PATH=$PWD/$venv/bin:$PATH
yamllint --strict -c tests/deploy/yamllint.yaml deploy tests/deploy
hadolint Dockerfile
promtool test rules deploy/prometheus/alerts_test.yaml
promtool check config deploy/prometheus/prometheus.yml
export PYTHONPATH=$PWD/tests/support
exec python -m pytest -q -p no:cacheprovider tests/deploy "$@"
