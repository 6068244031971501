#!/usr/bin/env bash
# skip_test.sh BUILD_DIR: scripts/gpu-test.sh exits with 77 and one line that says why where a program sees no GPU, which
# CUDA_VISIBLE_DEVICES sees to wherever there is one.
set -euo pipefail
cd "$(dirname "$0")/../.."
code=0
said=$(CUDA_VISIBLE_DEVICES=-1 scripts/gpu-test.sh --built "$1" 2>&1) || code=$?
echo "$said"
[ $code -eq 77 ] || { echo "exit code $code, expected 77" >&2; exit 1; }
[[ $said =~ ^"gpu-test.sh: skipped: "[^$'\n']+$ ]] || { echo "expected one line that says why" >&2; exit 1; }
