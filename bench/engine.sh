#!/usr/bin/env bash
# Speed of training steps and of generation on this machine's CPUs, and how far from its limit and from other programs that
# is, with SmolLM2-135M-Instruct or the GGUF file that QZO_BENCH_MODEL names. bench/README.md says what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = --quick ] || [ "${1:-}" = --help ] || bench/peers/install.sh >&2
exec python3 bench/engine.py "$@"
