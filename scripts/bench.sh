#!/usr/bin/env bash
# scripts/bench.sh NAME [--quick] [--json FILE]: builds and runs a program of bench/, which prints a table and, with --json,
# writes {"name","hardware","commands","metrics":{…}}. Without NAME: lists them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
  # shellcheck disable=SC2016 # `…` is markdown
  sed -n 's/^| `\([a-z]*\)` |\(.*\)|$/\1:\2/p' bench/README.md
  exit 2
fi
name=$1
shift
program=bench/$name.sh
[ -x "$program" ] || { echo "bench.sh: no benchmark '$name'; see bench/README.md" >&2; exit 2; }
scripts/build.sh release >&2
exec "$program" "$@"
