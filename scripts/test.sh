#!/usr/bin/env bash
# Builds everything and runs all tests, in a clean clone too. Arguments go to ctest (-R NAME, -L unit, …).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release
exec ctest --preset release -j "$(nproc)" "$@"
