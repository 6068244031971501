#!/usr/bin/env bash
# What a job learns in each arithmetic: see learning.py.
cd "$(dirname "$0")/.." || exit 1
exec python3 bench/learning.py "$@"
