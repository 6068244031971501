#!/usr/bin/env bash
# Bytes of a worker-step on the network: see wire.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/wire.py "$@"
