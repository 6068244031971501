#!/usr/bin/env bash
# What the CUDA kernels can reach at most on several devices: see roofline.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/roofline.py "$@"
