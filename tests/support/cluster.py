"""Real processes on loopback for tests in Python: a coordinator and workers, driven through qzoctl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(os.environ.get("QZO_BIN_DIR", ROOT / "build/release/bin"))
GOLDEN = ROOT / "tests/golden"


def eventually(condition, seconds: float = 60, what: str = "it"):
    """The first true answer of `condition`: other processes are polled, there is nothing to wait on."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)
    return answer


def http(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Process:
    def __init__(self, program: str | Path, *arguments: object, log: Path, environment: dict[str, str] | None = None):
        self.log = log
        with log.open("a") as out:
            self._process = subprocess.Popen(
                [str(program), *map(str, arguments)], stdout=out, stderr=out, env={**os.environ, **(environment or {})}
            )

    def find(self, pattern: str) -> str:
        """What the first group of `pattern` matches in the log, once it is there."""

        def look():
            assert self._process.poll() is None, self.log.read_text()
            return re.search(pattern, self.log.read_text())

        return eventually(look, what=f"'{pattern}' in {self.log}").group(1)

    def signal(self, number: int):
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(timeout=60)

    def stop(self) -> int:
        self._process.terminate()
        return self.wait()

    def kill(self):
        self._process.kill()
        self._process.wait()


class Cluster:
    """A coordinator and workers under one directory. Metrics ports are the programs' choice."""

    def __init__(self, directory: Path, *server_flags: object):
        self.directory = directory
        self.server_flags = server_flags
        self.workers: dict[str, Process] = {}
        self.metrics: dict[str, str] = {}  # name → host:port
        self.start_server()

    def start_server(self, data: str = "data"):
        log = self.directory / f"server-{data}.log"
        self.server = Process(
            BIN / "qzo-server", "--listen", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0",
            "--data-dir", self.directory / data, *self.server_flags, log=log,
        )  # fmt: skip
        self.address = self.server.find(r"serving on (\S+),")
        self.metrics["server"] = "127.0.0.1:" + self.server.find(r"metrics on port (\d+)")

    def start_worker(self, name: str, *flags: object, environment: dict[str, str] | None = None):
        self.workers[name] = Process(
            BIN / "qzo-worker", "--server", self.address, "--name", name, "--threads", 1,
            "--cache-dir", self.directory / "cache", "--metrics-address", "127.0.0.1:0", *flags, log=self.directory / f"{name}.log", environment=environment,
        )  # fmt: skip
        self.metrics[name] = "127.0.0.1:" + self.workers[name].find(r"metrics on port (\d+)")

    def ctl(self, *arguments: object, check: bool = True) -> str:
        result = subprocess.run(
            [BIN / "qzoctl", "--server", self.address, *map(str, arguments)], capture_output=True, text=True, timeout=180
        )
        assert not check or result.returncode == 0, result.stderr
        return result.stdout

    def submit(self, name: str, steps: int, method: dict | None = None, **more: object):
        """A job on the 260K-parameter model, with evaluations; `method`: settings of it, besides."""
        job = {
            "name": name,
            **more,
            "base_model": str(GOLDEN / "models/stories260k/stories260K-Q4_1.gguf"),
            "datasets": [
                {"path": str(GOLDEN / f"data/tiny_{file}.jsonl"), "split": split}
                for file, split in (("train", "train"), ("dev", "validation"), ("test", "test"))
            ],
            "task": {"kind": "classification", "prompt": "{text}", "options": ["He", "She"]},
            "method": {"steps": steps, "batch_size": 8, "probes": 4, "seed": 7, **(method or {})},
            "evaluation": {"eval_steps": 5},
        }
        path = self.directory / f"{name}.yaml"
        path.write_text(json.dumps(job))  # JSON is YAML
        self.ctl("submit", "-f", path, "--detach")

    def job(self, name: str) -> dict:
        return json.loads(self.ctl("get", "jobs", name, "-o", "json"))

    def step(self, name: str) -> int:
        return self.job(name)["progress"].get("step", 0)

    def close(self):
        for process in (*self.workers.values(), self.server):
            process.kill()
