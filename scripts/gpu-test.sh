#!/usr/bin/env bash
# scripts/gpu-test.sh [--built BUILD_DIR]: proves on this machine's GPU what is otherwise proved on the host, and measures:
#   - each kernel against its bound, noise and updates bit for bit with the CPU, whole forward passes, batch invariance
#   - a job on a GPU worker through the real programs: its journal replays on the CPU bit for bit (tests/gpu/job.py)
#   - speed beside cuBLAS and memory, as ratios within one run (bench/gpu.sh)
# Builds the release preset unless a folder that holds it is given. Without a GPU it exits with 77 and one line that says why. What
# fails keeps nothing else from being run.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release
if [ "${1:-}" = --built ]; then
  build=$2
else
  scripts/build.sh release
fi
skip() {
  echo "gpu-test.sh: skipped: $1"
  exit 77
}
probe=$build/tests/cuda_device_noise_test
[ -x "$probe" ] || skip "no CUDA toolkit was found, so nothing was built for GPUs"
reason=$("$probe" | grep -m 1 -e '^no CUDA device' -e '^CUDA device' -e 'expected 8.0 or later' || true)
[ -z "$reason" ] || skip "$reason"
export QZO_BIN_DIR=$build/bin
failed=
QZO_GPU_REQUIRED=1 ctest --test-dir "$build" -L gpu --no-tests=error --output-on-failure || failed="$failed ctest"
python3 tests/gpu/job.py || failed="$failed tests/gpu/job.py"
bench/gpu.sh || [ $? -eq 77 ] || failed="$failed bench/gpu.sh"  # 77: built without cuBLAS
[ -z "$failed" ] || { echo "gpu-test.sh: failed:$failed" >&2; exit 1; }
