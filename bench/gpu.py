"""Speed and memory on this machine's GPU: products of quantized weights beside cuBLAS on dense ones and beside dequantizing first
(qzo_gpu_bench), and whole training steps (qzo_engine_bench). bench/README.md says what is measured. Exits with 77 where there is
no GPU, or cuBLAS was not found when the programs were built.

  gpu.py [--quick] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

from report import report

BIN = pathlib.Path(os.environ.get("QZO_BIN_DIR", "build/release/bin"))


def run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode == 77:
        print(f"gpu: {result.stdout.strip()}")
        sys.exit(77)
    if result.returncode != 0:
        sys.exit(f"gpu: {' '.join(map(str, command))}: {result.stderr.strip()}")
    return result.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one shape, few rows, no larger model")
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    if not (BIN / "qzo_gpu_bench").exists():
        print("gpu: skipped: built without CUDA and cuBLAS")
        sys.exit(77)
    products = [BIN / "qzo_gpu_bench", *(["--quick"] if arguments.quick else [])]
    measured = json.loads(run(*products))

    model = os.environ.get("QZO_BENCH_MODEL")
    if not model:
        model = subprocess.check_output(["scripts/get-model.sh", ".cache/models"], text=True).strip()
    step = [BIN / "qzo_engine_bench", "--model", model, "--device", "cuda", "--probes", "8", "--max-rows", "16384"]
    if arguments.quick:
        step += ["--seconds", "0.5"]
    taken = json.loads(run(*step))
    metrics = [
        *((name, value, unit) for name, value, unit in measured["metrics"]),
        ("step_s", taken["step_s"], "seconds of a step of 8 probes, 16 rows of 64 tokens"),
        ("tokens_per_s", taken["tokens_per_s"], "token rows per second"),
        ("device_gb", taken["device_bytes"] / 1e9, "GB of device memory: weights, multipliers, activations, tables"),
        ("device_over_file", taken["device_bytes"] / os.path.getsize(model), "of the model file's bytes"),
    ]
    commands = [" ".join(map(str, command)) for command in (products, step)]
    report("gpu", commands, metrics, arguments.json, device=f"{measured['gpu']} ({measured['architecture']})")


if __name__ == "__main__":
    main()
