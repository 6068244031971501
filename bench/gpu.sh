#!/usr/bin/env bash
# Products and training steps on this machine's GPU beside cuBLAS: see gpu.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/gpu.py "$@"
