#!/usr/bin/env bash
# scripts/gpu-gate.sh [LIBRARY]: checks the machine code of the CUDA kernels against kernels/cuda/budget.json. cuobjdump comes
# with the toolkit or, from PyPI, into a virtual environment of its own. Exit code 77 where it can be had from neither.
set -euo pipefail
cd "$(dirname "$0")/.."
library=${1:-build/release/kernels/cuda/libqzo_gpu_kernels.a}
[ -f "$library" ] || { echo "gpu-gate.sh: $library does not exist: build it with the CUDA toolkit first" >&2; exit 77; }
venv=build/cuda-tools
tool=$(PATH=$PATH:/usr/local/cuda/bin command -v cuobjdump || true)
if [ -z "$tool" ]; then
  [ -x $venv/bin/python ] || python3 -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check nvidia-cuda-cuobjdump==13.5.37 nvidia-cuda-nvdisasm==13.5.37 \
    || { echo "gpu-gate.sh: no cuobjdump in the toolkit, and PyPI cannot be reached" >&2; exit 77; }
  tool=$(echo $venv/lib/python3*/site-packages/nvidia/cu13/bin/cuobjdump)
fi
PATH=$PATH:$(dirname "$tool") exec python3 kernels/cuda/gate.py "$tool" "$library" kernels/cuda/budget.json
