#!/usr/bin/env bash
# What the coordinator costs per step, without network and computing: see coordinator_bench.cc.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=12
json=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) seconds=3; shift ;;
    --json) json=(--json "${2:?--json needs a file}"); shift 2 ;;
    *) echo "usage: bench/coordinator.sh [--quick] [--json FILE]" >&2; exit 2 ;;
  esac
done
program=${QZO_BIN_DIR:-build/release/bin}/qzo_coordinator_bench
"$program" "$seconds" | python3 bench/report.py coordinator --command "$program $seconds" "${json[@]}"
