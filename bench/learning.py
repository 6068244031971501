"""What a job learns in each arithmetic: one job file, the same seed and so the same noise and batches, a worker of each kind
one after the other. Training loss and validation against steps and against seconds, and the test figures before and after.

Seconds are those of the steps alone, without evaluations, on all of the machine's processors.
"""
import argparse
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from report import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("QZO_BIN_DIR", ROOT / "build/release/bin"))
JOB = "examples/sms_spam/job.yaml"
GOLDEN = ROOT / "tests/golden"
QUICK = {"datasets": [{"path": f"{GOLDEN}/data/tiny_{part}.jsonl", "split": split}
                      for part, split in (("train", "train"), ("dev", "validation"), ("test", "test"))],
         "base_model": "", "task": {"kind": "classification", "prompt": "{text}", "options": ["He", "She"]},
         "method": {"steps": 20, "batch_size": 8, "probes": 4, "seed": 7}}
ARITHMETICS = ("fp32", "int16", "int8")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """A coordinator and, one after the other, a worker of each kind."""

    def __init__(self, directory: str, model: str):
        self.directory, self.model = directory, model
        self.address = f"127.0.0.1:{free_port()}"
        self.server = self._start("server", "qzo-server", "--listen", self.address, "--metrics-address", "", "--data-dir",
                                  f"{directory}/server")

    def _start(self, log: str, program: str, *arguments: str) -> subprocess.Popen:
        with open(f"{self.directory}/{log}.log", "a") as file:
            return subprocess.Popen([BIN / program, *arguments], stderr=file)

    def stop(self, process: subprocess.Popen):
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    def ctl(self, *arguments: str) -> str:
        command = [BIN / "qzoctl", "--server", self.address, "-q", *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"learning: qzoctl {' '.join(arguments)}: {result.stderr}")
        return result.stdout

    def train(self, arithmetic: str, job_file: str, settings: list[str]) -> dict:
        worker = self._start(arithmetic, "qzo-worker", "--server", self.address, "--name", arithmetic, "--arithmetic", arithmetic,
                             "--model", self.model, "--cache-dir", f"{self.directory}/cache")
        try:
            sets = [part for setting in settings for part in ("--set", setting)]
            self.ctl("submit", "-f", job_file, "--set", f"base_model={self.model}", "--set", f"name={arithmetic}", *sets, "--detach")
            self.ctl("wait", arithmetic, "--for=state=succeeded", "--timeout", "4h")
            events = json.loads(self.ctl("events", arithmetic, "-o", "json"))["events"]
            return {"job": json.loads(self.ctl("get", "jobs", arithmetic, "-o", "json")), "events": events}
        finally:
            self.stop(worker)


def curve(events: list[dict]) -> list[tuple[int, float, float]]:
    """(step, training loss, seconds of a step) of every step."""
    steps = [event["step"] for event in events if "step" in event]
    return [(step["step"], step["trainLoss"], step["seconds"]) for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sh learning", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 steps of stories260K on the tests' rows")
    parser.add_argument("--json", default=None)
    parser.add_argument("--job", default=str(ROOT / JOB), help=f"job file of a classification; default: {JOB}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for qzoctl submit")
    parser.add_argument("--arithmetic", action="append", choices=ARITHMETICS, help="only these; default: all")
    arguments = parser.parse_args()
    if arguments.quick:
        model = f"{GOLDEN}/models/stories260k/stories260K-Q4_1.gguf"
    else:
        model = os.environ.get("QZO_BENCH_MODEL") or subprocess.run(
            [ROOT / "scripts/get-model.sh", ROOT / ".cache/models"], check=True, capture_output=True, text=True).stdout.strip()
    metrics = []
    with tempfile.TemporaryDirectory(prefix="qzo-learning-") as directory:
        if arguments.quick:
            arguments.job = f"{directory}/job.yaml"
            pathlib.Path(arguments.job).write_text(json.dumps(QUICK))
        cluster = Cluster(directory, os.path.realpath(model))
        try:
            time.sleep(0.5)
            for arithmetic in arguments.arithmetic or ARITHMETICS:
                result = cluster.train(arithmetic, arguments.job, arguments.set)
                points, progress = curve(result["events"]), result["job"]["progress"]
                seconds = 0.0
                print(f"{arithmetic}: step, mean training loss since the line above, seconds of steps so far")
                window = max(1, len(points) // 10)
                for step, loss, took in points:
                    seconds += took
                    if step % window == 0:
                        losses = [loss for _, loss, _ in points[step - window:step]]
                        print(f"  {step:5d}  {statistics.fmean(losses):.4f}  {seconds:8.1f}")
                for event in result["events"]:
                    if event.get("evaluation", {}).get("split") == "validation":
                        print(f"  {event['message']}")
                tail = statistics.fmean(loss for _, loss, _ in points[-max(1, len(points) // 4):])
                metrics += [(f"{arithmetic}_train_loss", tail, "mean of the last quarter of the steps"),
                            (f"{arithmetic}_step_s", statistics.median(took for _, _, took in points), "median")]
                peak, planned = int(progress["peakWorkerMemoryBytes"]), int(result["job"]["plan"]["workerMemoryBytes"])
                metrics += [(f"{arithmetic}_peak_worker_mib", peak / 2**20, "of the worker's process, mapped model included"),
                            (f"{arithmetic}_peak_over_planned", peak / planned, "of what `qzoctl plan` predicts")]
                for when, key in (("before", "firstTest"), ("after", "finalTest")):
                    if key in progress:
                        metrics += [(f"{arithmetic}_test_accuracy_{when}", 100 * progress[key]["accuracy"], "%"),
                                    (f"{arithmetic}_test_macro_f1_{when}", 100 * progress[key]["macroF1"], "%")]
        finally:
            cluster.stop(cluster.server)
    command = " ".join(["scripts/bench.sh learning", *sys.argv[1:]]).replace(str(ROOT) + "/", "")
    report("learning", [command], metrics, arguments.json)


if __name__ == "__main__":
    main()
