#!/usr/bin/env bash
# Speed of the engine on this machine's CPUs with SmolLM2-135M-Instruct (or the GGUF file that QZO_BENCH_MODEL names): token
# rows of perturbed forward passes, as a training step does them, and tokens of generation, on 1 and 2 threads.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=5 tokens=128 json=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) seconds=1 tokens=32; shift ;;
    --json) json=(--json "${2:?--json needs a file}"); shift 2 ;;
    *) echo "usage: bench/engine.sh [--quick] [--json FILE]" >&2; exit 2 ;;
  esac
done
bin=${QZO_BIN_DIR:-build/release/bin}
export QZO_BENCH_MODEL=${QZO_BENCH_MODEL:-$(scripts/get-model.sh .cache/models)}
# Variants are listed from the slowest to the fastest that this machine can run.
fastest=$("$bin/qzo_engine_bench" --benchmark_list_tests | tail -n 1 | cut -d/ -f1)
filter="^$fastest/examples:16/tokens:40/probes:1/threads:[12]/channel"
forward=("$bin/qzo_engine_bench" "--benchmark_filter=$filter" "--benchmark_min_time=$seconds" --benchmark_format=json)
generation=("$bin/qzo_generation_bench" "$QZO_BENCH_MODEL" "$tokens")
{
  "${forward[@]}" | python3 -c '
import json, re, sys
names = {"1": "tokens_per_s_1_thread", "2": "tokens_per_s"}
for case in json.load(sys.stdin)["benchmarks"]:
    threads = re.search("/threads:([0-9]+)/", case["name"]).group(1)
    print(names[threads], case["rows/s"], f"token rows, both lanes counted; 16 rows of about 40 tokens, {threads} threads")
'
  echo "generation_tokens_per_s_1_thread $("${generation[@]}" 1) tokens of one greedy text, 1 thread"
  echo "generation_tokens_per_s $("${generation[@]}" 2) tokens of one greedy text, 2 threads"
} | python3 bench/report.py engine --command "QZO_BENCH_MODEL=$QZO_BENCH_MODEL ${forward[*]}" \
  --command "${generation[*]} 2" "${json[@]}"
