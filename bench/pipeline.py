"""A model held by three workers, each in a network namespace of its own, as on three hosts: whether its journal is, bit for bit,
that of one worker that holds it all, also when the middle stage is killed; what crosses each link, counted where it passes and as
predicted; and how much of the time each stage computes.

Needs root and `ip`; exits with 77 where namespaces cannot be made. Exits with 1 when a journal differs or stages do not overlap.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from report import report

STAGES = 3
ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("QZO_BIN_DIR", ROOT / "build/release/bin"))
MODEL = ROOT / "tests/golden/models/stories260k/stories260K-Q4_1.gguf"
TRAIN = ROOT / "tests/golden/data/tiny_train.jsonl"
SERVER = "10.78.0.1:7070"


def run(*command) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class Hosts:
    """Namespaces on one switch: the coordinator's, and one for each worker."""

    def __init__(self, workers: int):
        pid = os.getpid()
        self.server = f"qzo-p{pid}"
        self.workers = [f"{self.server}-{i}" for i in range(workers)]
        self.links = [f"q{pid}-{i}" for i in range(workers)]

    def __enter__(self):
        try:
            run("ip", "netns", "add", self.server)
            run("ip", "-n", self.server, "link", "add", "switch", "type", "bridge")
            run("ip", "-n", self.server, "addr", "add", "10.78.0.1/24", "dev", "switch")
            for name in ("lo", "switch"):
                run("ip", "-n", self.server, "link", "set", name, "up")
            for i, (space, link) in enumerate(zip(self.workers, self.links)):
                run("ip", "netns", "add", space)
                run("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", link, "netns", self.server)
                run("ip", "-n", self.server, "link", "set", link, "master", "switch", "up")
                run("ip", "-n", space, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
                for name in ("lo", "eth0"):
                    run("ip", "-n", space, "link", "set", name, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            why = getattr(error, "stderr", None) or error
            print(f"pipeline: skipped: network namespaces cannot be made here: {why}", file=sys.stderr)
            sys.exit(77)
        return self

    def __exit__(self, *_):
        for space in [*self.workers, self.server]:
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)

    @staticmethod
    def address(worker: int) -> str:
        return f"10.78.0.{10 + worker}"

    def sent(self, worker: int) -> int:
        """Bytes that left the worker, with all headers."""
        return json.loads(run("ip", "-n", self.workers[worker], "-s", "-j", "link", "show", "eth0"))[0]["stats64"]["tx"]["bytes"]


class Cluster:
    def __init__(self, hosts: Hosts, directory: str):
        self.hosts, self.directory, self.commands = hosts, directory, []
        self.server, self.workers = None, {}

    def __enter__(self):
        self.server = self._start(self.hosts.server, "qzo-server", "--listen", SERVER, "--metrics-address", "", "--data-dir",
                                  f"{self.directory}/server")
        self._await(lambda: self.ctl("get", "workers", "-o", "name") is not None, "the server listens")
        return self

    def __exit__(self, *_):
        processes = [*self.workers.values(), self.server]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, space: str, program: str, *arguments) -> subprocess.Popen:
        command = [str(BIN / program), *map(str, arguments), "--insecure", "--log-level", "error"]
        self.commands.append(" ".join(command).replace(str(ROOT) + "/", ""))
        return subprocess.Popen(["ip", "netns", "exec", space, *command])

    def start_worker(self, host: int):
        address = self.hosts.address(host)
        self.workers[host] = self._start(
            self.hosts.workers[host], "qzo-worker", "--server", SERVER, "--name", f"w{host}", "--threads", "1", "--model", MODEL,
            "--cache-dir", f"{self.directory}/cache{host}", "--stage-address", f"{address}:7072", "--metrics-address",
            f"{address}:9465", "--metrics-open")
        self._await(lambda: f"workers/w{host}" in (self.ctl("get", "workers", "-o", "name") or "").split(), f"w{host} attaches")

    def kill_worker(self, host: int):
        process = self.workers.pop(host)
        process.kill()
        process.wait()

    @staticmethod
    def _await(condition, what: str, seconds: float = 60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                sys.exit(f"pipeline: waited {seconds:.0f} s in vain: {what}")
            time.sleep(0.05)

    def ctl(self, *arguments) -> str | None:
        try:
            return run("ip", "netns", "exec", self.hosts.server, BIN / "qzoctl", "--server", SERVER, "--insecure", "-q", *arguments)
        except subprocess.CalledProcessError:
            return None

    def submit(self, name: str, stages: int, steps: int, batch_size: int):
        job = {
            "name": name, "base_model": str(MODEL), "datasets": [{"path": str(TRAIN), "split": "train"}],
            "task": {"kind": "classification", "prompt": "{text}", "options": ["He", "She"]},
            "method": {"steps": steps, "batch_size": batch_size, "seed": 7},
            "evaluation": {"snapshot_steps": 0}, "placement": {"stages": stages},
        }
        path = f"{self.directory}/{name}.yaml"
        pathlib.Path(path).write_text(json.dumps(job))
        if self.ctl("submit", "-f", path, "--detach") is None:
            sys.exit(f"pipeline: job {name} was refused")
        self.commands.append(f"qzoctl submit -f - <<< '{json.dumps(job).replace(str(ROOT) + '/', '')}'")

    def job(self, name: str) -> dict:
        job = json.loads(self.ctl("get", "jobs", name, "-o", "json") or "{}")
        if job.get("state", "QUEUED") not in ("QUEUED", "RUNNING", "SUCCEEDED"):
            sys.exit(f"pipeline: job {name} is {job['state']}: {job.get('message')}")
        return job

    def await_step(self, name: str, step: int) -> dict:
        self._await(lambda: int(self.job(name).get("progress", {}).get("step", 0)) >= step, f"step {step} of {name}", 600)
        return self.job(name)

    def journal(self, name: str) -> bytes:
        self._await(lambda: self.job(name).get("state") == "SUCCEEDED", f"the end of {name}", 600)
        path = f"{self.directory}/{name}.journal"
        self.ctl("download", "journal", name, "-f", path)
        return pathlib.Path(path).read_bytes()

    @staticmethod
    def members(job: dict) -> list[int]:
        """Hosts, in the order of stages."""
        return [int(stage["worker"].removeprefix("workers/w")) for stage in job["pipelines"][0]["stages"]]

    def metric(self, host: int, name: str) -> float:
        read = f"import urllib.request as u; print(u.urlopen('http://{self.hosts.address(host)}:9465/metrics').read().decode())"
        text = run("ip", "netns", "exec", self.hosts.workers[host], sys.executable, "-c", read)
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def measure(cluster: Cluster, steps: int, batch_size: int) -> tuple[list[tuple[str, float, str]], bytes, bytes]:
    cluster.start_worker(0)
    cluster.submit("whole", 1, steps, batch_size)
    whole = cluster.journal("whole")
    for host in range(1, STAGES):
        cluster.start_worker(host)
    cluster.submit("shared", STAGES, steps, batch_size)

    def look(step: int):
        job = cluster.await_step("shared", step)
        hosts = cluster.members(job)
        return (time.monotonic(), int(job["progress"]["step"]), float(job["plan"]["linkBytesPerStep"]),
                [cluster.metric(host, "qzo_worker_stage_busy_seconds_total") for host in hosts],
                [cluster.metric(host, "qzo_worker_stage_sent_bytes_total") for host in hosts],
                [cluster.hosts.sent(host) for host in hosts])

    began, first_step, predicted, busy_before, sent_before, wire_before = look(2)
    ended, last_step, _, busy_after, sent_after, wire_after = look(steps * 3 // 4)
    counted, seconds = last_step - first_step, ended - began
    if counted <= 0:
        sys.exit("pipeline: the steps were too fast to count")
    metrics = [("predicted_link_bytes", predicted, "bytes per step, from each stage to the next")]
    for stage in range(STAGES - 1):
        metrics.append((f"link_bytes_{stage}", (sent_after[stage] - sent_before[stage]) / counted, "bytes per step, frames"))
        metrics.append((f"wire_bytes_{stage}", (wire_after[stage] - wire_before[stage]) / counted,
                        "bytes per step that left the worker, with all headers"))
    busy = [(after - before) / seconds for before, after in zip(busy_before, busy_after)]
    metrics += [(f"utilization_{stage}", share, "of the time") for stage, share in enumerate(busy)]
    metrics.append(("overlap", sum(busy), "stages at work at a time, on average"))
    metrics.append(("step_ms", 1e3 * seconds / counted, "per step"))
    metrics.append(("steps", counted, "counted"))
    return metrics, whole, cluster.journal("shared")


def disturbed(cluster: Cluster, steps: int, batch_size: int) -> bytes:
    """A spare worker stands by when the middle stage is killed."""
    cluster.start_worker(STAGES)
    cluster.submit("disturbed", STAGES, steps, batch_size)
    job = cluster.await_step("disturbed", 3)
    if "pipelines" not in job:
        sys.exit("pipeline: the job was over before it could be disturbed")
    cluster.kill_worker(cluster.members(job)[1])
    journal = cluster.journal("disturbed")
    if "a pipeline ended at stage" not in (cluster.ctl("events", "disturbed") or ""):
        sys.exit("pipeline: no event tells of the pipeline that ended")
    return journal


def main():
    parser = argparse.ArgumentParser(prog="bench/pipeline.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 steps instead of 200")
    parser.add_argument("--json", help="also write the figures to this file")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("pipeline: skipped: network namespaces need root and the command ip (Debian: iproute2)", file=sys.stderr)
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the clean-up
    steps, batch_size = (20 if arguments.quick else 200), 64
    with Hosts(STAGES + 1) as hosts, tempfile.TemporaryDirectory(prefix="qzo-pipeline-") as directory, \
            Cluster(hosts, directory) as cluster:
        metrics, whole, shared = measure(cluster, steps, batch_size)
        killed = disturbed(cluster, steps, batch_size)
        metrics.append(("same_journal", float(whole == shared), "1: bit for bit that of one worker"))
        metrics.append(("same_journal_killed", float(whole == killed), "1: also when the middle stage was killed"))
        report("pipeline", cluster.commands, metrics, arguments.json)
    figures = {name: value for name, value, _ in metrics}
    if not whole or not figures["same_journal"] or not figures["same_journal_killed"]:
        sys.exit("pipeline: the journals differ")
    if figures["overlap"] <= 1:
        print("pipeline: stages hardly overlapped; on a busy machine they share its cores", file=sys.stderr)


if __name__ == "__main__":
    main()
