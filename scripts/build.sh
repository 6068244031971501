#!/usr/bin/env bash
# scripts/build.sh [PRESET] [TARGET…]: installs what is missing, configures build/PRESET (default release) and builds it.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
shift || true
scripts/install.sh
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" -- "$@"
