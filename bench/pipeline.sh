#!/usr/bin/env bash
# A model held by three workers on hosts of their own: see pipeline.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/pipeline.py "$@"
