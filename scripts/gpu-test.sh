#!/usr/bin/env bash
# scripts/gpu-test.sh: runs on this machine's GPU what the emulator runs in every build: each kernel against its bound, noise and
# updates bit for bit with the CPU, whole forward passes, batch invariance. Without a GPU it says why and ends well.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release
probe=build/release/tests/cuda_device_noise_test
[ -x $probe ] || { echo "gpu-test.sh: skipped: no CUDA toolkit was found, so nothing was built for GPUs"; exit 0; }
reason=$($probe | grep -m 1 -e '^no CUDA device' -e 'expected 8.0 or later' -e 'holds no code' || true)
[ -z "$reason" ] || { echo "gpu-test.sh: skipped: $reason"; exit 0; }
exec ctest --preset release -L gpu --output-on-failure
