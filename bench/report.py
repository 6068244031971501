"""What every benchmark prints and writes. As a program it reads lines "metric value unit" from standard input:

  report.py NAME [--json FILE] [--command COMMAND]…
"""
import argparse
import json
import os
import platform
import sys


def hardware() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {len(os.sched_getaffinity(0))} CPUs, {gib:.0f} GiB, Linux {platform.release()}"


def report(name: str, commands: list[str], metrics: list[tuple[str, float, str]], json_file: str | None, device: str = "") -> None:
    """`device`: a GPU that the figures are of."""
    here = f"{device}; {hardware()}" if device else hardware()
    print(f"{name}: {here}")
    width = max(len(metric) for metric, _, _ in metrics)
    for metric, value, unit in metrics:
        print(f"  {metric:{width}}  {value:>12,.{0 if abs(value) >= 1000 else 2}f}  {unit}")
    if json_file:
        with open(json_file, "w") as file:
            figures = {metric: value for metric, value, _ in metrics}
            json.dump({"name": name, "hardware": here, "commands": commands, "metrics": figures}, file, indent=2)
            file.write("\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--json", default=None)
    parser.add_argument("--command", action="append", default=[])
    arguments = parser.parse_args()
    metrics = []
    for line in sys.stdin:
        metric, value, unit = line.strip().split(" ", 2)
        metrics.append((metric, float(value), unit))
    if not metrics:
        sys.exit(f"{arguments.name}: nothing was measured")
    report(arguments.name, arguments.command, metrics, arguments.json)


if __name__ == "__main__":
    main()
