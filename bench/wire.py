"""What a worker-step costs on the network, counted where it passes: the coordinator stands in one network namespace, eight
workers in another, a veth pair between them. A step has eight items, one a worker, and takes at least 100 ms, so that TCP
acknowledges on a packet of its own and gRPC has the time for whatever it sends when it is idle.

Needs root and `ip`; exits with 77 where namespaces cannot be made. Interface bytes are those of all packets of the workers'
end, both ways, without the 14 bytes of the link header; ARP and IPv6 are off.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from report import report

WORKERS = 8
LINK_HEADER = 14
LEAST_STEP_SECONDS = 0.1
AIM_STEP_SECONDS = 0.15
ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("QZO_BIN_DIR", ROOT / "build/release/bin"))
MODEL = ROOT / "tests/golden/models/stories260k/stories260K-Q4_1.gguf"
TRAIN = ROOT / "tests/golden/data/tiny_train.jsonl"
ADDRESS = "10.77.0.1:7070"


def run(*command: str) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class Hosts:
    """Two namespaces with a cable between them."""

    def __init__(self):
        self.server, self.workers = f"qzo-s{os.getpid()}", f"qzo-w{os.getpid()}"
        self.ends = [(self.server, f"qs{os.getpid()}", "10.77.0.1", "02:00:00:00:00:01"),
                     (self.workers, f"qw{os.getpid()}", "10.77.0.2", "02:00:00:00:00:02")]

    def __enter__(self):
        try:
            run("ip", "netns", "add", self.server)
            run("ip", "netns", "add", self.workers)
            (_, one, _, _), (_, other, _, _) = self.ends
            run("ip", "link", "add", one, "netns", self.server, "type", "veth", "peer", "name", other, "netns", self.workers)
            for (space, link, ip, mac), (_, _, peer_ip, peer_mac) in zip(self.ends, self.ends[::-1]):
                run("ip", "-n", space, "link", "set", "lo", "up")
                run("ip", "-n", space, "link", "set", link, "addrgenmode", "none", "address", mac)
                run("ip", "-n", space, "addr", "add", f"{ip}/24", "dev", link)
                run("ip", "-n", space, "link", "set", link, "up")
                run("ip", "-n", space, "neigh", "add", peer_ip, "lladdr", peer_mac, "dev", link)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            why = getattr(error, "stderr", None) or error
            print(f"wire: skipped: network namespaces cannot be made here: {why}", file=sys.stderr)
            sys.exit(77)
        return self

    def __exit__(self, *_):
        for space in (self.server, self.workers):
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)

    def traffic(self) -> tuple[int, int]:
        """Bytes of IP packets and their number, both ways."""
        stats = json.loads(run("ip", "-n", self.workers, "-s", "-j", "link", "show", self.ends[1][1]))[0]["stats64"]
        packets = stats["rx"]["packets"] + stats["tx"]["packets"]
        return stats["rx"]["bytes"] + stats["tx"]["bytes"] - LINK_HEADER * packets, packets


class Cluster:
    def __init__(self, hosts: Hosts, directory: str):
        self.hosts, self.directory, self.processes, self.commands = hosts, directory, [], []

    def __enter__(self):
        common = ["--insecure", "--log-level", "error"]
        self._start(self.hosts.server, "qzo-server", "--listen", ADDRESS, "--metrics-address", "", "--data-dir",
                    f"{self.directory}/server", *common)
        self._await_workers(0)
        for i in range(WORKERS):
            self._start(self.hosts.workers, "qzo-worker", "--server", ADDRESS, "--name", f"w{i}", "--threads", "1", "--model",
                        MODEL, "--cache-dir", f"{self.directory}/cache", *common)
        self._await_workers(WORKERS)
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, space: str, program: str, *arguments):
        command = [str(BIN / program), *map(str, arguments)]
        if len(self.processes) < 2:
            self.commands.append(" ".join(command).replace(str(ROOT) + "/", ""))
        self.processes.append(subprocess.Popen(["ip", "netns", "exec", space, *command]))

    def _await_workers(self, count: int):
        for _ in range(300):
            if any(process.poll() is not None for process in self.processes):
                sys.exit("wire: a process ended early; what it wrote stands above")
            try:
                if len(self.ctl("get", "workers", "-o", "name").split()) == count:
                    return
            except subprocess.CalledProcessError:
                pass  # the server does not listen yet
            time.sleep(0.1)
        sys.exit(f"wire: {count} workers did not attach within 30 s")

    def ctl(self, *arguments: str) -> str:
        return run("ip", "netns", "exec", self.hosts.server, BIN / "qzoctl", "--server", ADDRESS, "--insecure", "-q", *arguments)

    def submit(self, name: str, batch_size: int):
        job = {
            "name": name, "base_model": str(MODEL), "datasets": [{"path": str(TRAIN), "split": "train"}],
            "task": {"kind": "classification", "prompt": "{text}", "options": ["He", "She"]},
            "method": {"steps": 2000, "batch_size": batch_size},
            "evaluation": {"snapshot_steps": 0}, "placement": {"min_workers": WORKERS},
        }
        path = f"{self.directory}/{name}.yaml"
        pathlib.Path(path).write_text(json.dumps(job))
        self.ctl("submit", "-f", path, "--detach")
        self.commands.append(f"qzoctl submit -f - <<< '{json.dumps(job).replace(str(ROOT) + '/', '')}'")

    def progress(self, name: str) -> dict[str, int]:
        job = json.loads(self.ctl("get", "jobs", name, "-o", "json"))
        if job["state"] not in ("QUEUED", "RUNNING", "SUCCEEDED"):
            sys.exit(f"wire: job {name} is {job['state']}: {job.get('message')}")
        return job.get("progress", {})

    def await_step(self, name: str, step: int) -> tuple[float, int, int, dict[str, int]]:
        """(time, traffic, progress) at the first look at which that step is committed."""
        while True:
            looked, traffic = time.monotonic(), self.hosts.traffic()
            progress = self.progress(name)
            if int(progress.get("step", 0)) >= step:
                return looked, *traffic, progress
            time.sleep(0.02)


def find_batch_size(cluster: Cluster) -> int:
    """Rows that make a step last AIM_STEP_SECONDS on this machine."""
    rows, steps = 16, 5
    cluster.submit("pace", rows)
    cluster.await_step("pace", steps)
    cluster.ctl("cancel", "pace")
    events = json.loads(cluster.ctl("events", "pace", "-o", "json"))["events"]
    seconds = statistics.median(event["step"]["seconds"] for event in events if "step" in event)
    return min(65536, max(1, round(rows * AIM_STEP_SECONDS / seconds)))


def measure(cluster: Cluster, steps: int) -> list[tuple[str, float, str]]:
    cluster.submit("wire", find_batch_size(cluster))
    began, bytes_before, packets_before, before = cluster.await_step("wire", 2)
    ended, bytes_after, packets_after, after = cluster.await_step("wire", 2 + steps)

    def difference(field: str) -> int:
        return int(after.get(field, 0)) - int(before.get(field, 0))

    worker_steps, counted_steps = difference("workerSteps"), difference("step")
    pace = (ended - began) / counted_steps
    if pace < LEAST_STEP_SECONDS:
        print(f"wire: a step took {pace * 1e3:.0f} ms only: fewer packets than over a slower run", file=sys.stderr)
    return [
        ("payload_down_bytes", difference("payloadDownBytes") / worker_steps, "bytes per worker-step; target: at most 64"),
        ("payload_up_bytes", difference("payloadUpBytes") / worker_steps, "bytes per worker-step; target: at most 64"),
        ("wire_bytes", (bytes_after - bytes_before) / worker_steps,
         "bytes of IP packets per worker-step; target: at most 400"),
        ("packets", (packets_after - packets_before) / worker_steps, "per worker-step"),
        ("step_ms", pace * 1e3, "per step; at least 100"),
        ("steps", counted_steps, "counted"),
        ("worker_steps", worker_steps, "counted"),
    ]


def main():
    parser = argparse.ArgumentParser(prog="bench/wire.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 steps instead of 1000")
    parser.add_argument("--json", help="also write the figures to this file")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("wire: skipped: network namespaces need root and the command ip (Debian: iproute2)", file=sys.stderr)
        sys.exit(77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the clean-up
    with Hosts() as hosts, tempfile.TemporaryDirectory(prefix="qzo-wire-") as directory, Cluster(hosts, directory) as cluster:
        metrics = measure(cluster, 100 if arguments.quick else 1000)
    report("wire", cluster.commands, metrics, arguments.json)


if __name__ == "__main__":
    main()
