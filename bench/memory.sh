#!/usr/bin/env bash
# Peak memory of training steps at the paper's scale: see memory.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/memory.py "$@"
