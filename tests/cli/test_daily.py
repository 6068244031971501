"""What people type every day, against real programs: top, plot, diff, chat, contexts, completion."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from cluster import BIN, Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    running.start_worker("w1")
    for name, steps in (("first", 12), ("second", 8)):
        running.submit(name, steps)
        running.ctl("wait", name, "--timeout", "100s")
    yield running
    running.close()


def test_top_shows_workers_once_when_nobody_watches(cluster):
    shown = cluster.ctl("top")
    assert "w1" in shown and "0 jobs that have not ended; 1 workers" in shown and "\x1b" not in shown


def test_plot_draws_on_the_terminal_and_into_a_file(cluster, tmp_path):
    drawn = cluster.ctl("plot", "first")
    assert ". training   o validation" in drawn and drawn.splitlines()[-2].endswith("12")
    both = cluster.ctl("plot", "first", "second", "--svg", tmp_path / "both.svg")
    assert both.strip() == str(tmp_path / "both.svg")
    svg = ElementTree.parse(tmp_path / "both.svg").getroot()
    assert len(svg.findall("{http://www.w3.org/2000/svg}polyline")) == 4
    cluster.ctl("plot", "first", "--png", tmp_path / "first.png")
    data = (tmp_path / "first.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">2I", data[16:24]) == (1440, 520)


def test_diff_names_what_differs(cluster):
    shown = cluster.ctl("diff", "first", "second")
    row = next(line for line in shown.splitlines() if line.startswith("method.steps"))
    assert row.split() == ["method.steps", "12", "8"]
    assert "method.probes" not in shown and "test accuracy" in shown


def test_chat_answers_turn_by_turn(cluster):
    model = cluster.ctl("get", "models", "-o", "name").strip()
    command = [BIN / "qzoctl", "--server", cluster.address, "chat", "--temperature", "0", "--max-tokens", "8"]

    def chat(*arguments: str, turns: str) -> list[str]:
        result = subprocess.run([*command, *arguments], input=turns, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    once = chat("--model", model, turns="Hello there\n")
    assert once and chat("--model", model, turns="Hello there\n") == once
    assert len("".join(chat("--adapter", "first", turns="Hello there\n\nAnd then?\n"))) > 0
    wrong = subprocess.run([*command, "--adapter", "none"], input="Hello\n", capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 7 and "none" in wrong.stderr


def test_contexts_choose_a_server(cluster, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f'context: away\ncontexts:\n  away: {{server: "127.0.0.1:1"}}\n  here: {{server: "{cluster.address}"}}\n')
    environment = {**os.environ, "QZO_CONFIG": str(config)}

    def get(*arguments: str) -> subprocess.CompletedProcess:
        command = [BIN / "qzoctl", *arguments, "get", "jobs", "-o", "name"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    assert get("--context", "here").stdout.splitlines() == ["projects/default/jobs/second", "projects/default/jobs/first"]
    assert get("--context=nowhere").returncode == 2
    assert "127.0.0.1:1" in get("--server", "127.0.0.1:1").stderr
    assert get("--server", cluster.address).returncode == 0, "flags beat the file"


def test_completion_knows_the_names_that_are_there(cluster):
    script = f"""
source <({BIN}/qzoctl completion bash)
complete_words() {{ COMP_WORDS=("$@" ""); COMP_CWORD=$#; COMPREPLY=(); _qzoctl; echo "${{COMPREPLY[*]}}"; }}
complete_words qzoctl watch
complete_words qzoctl drain
complete_words qzoctl delete job
"""
    environment = {**os.environ, "QZO_SERVER": cluster.address, "PATH": f"{BIN}:{os.environ['PATH']}"}
    lines = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment).stdout.splitlines()
    assert {"first", "second"} <= set(lines[0].split()) and "w1" in lines[1].split()
    assert {"first", "second"} <= set(lines[2].split())


def start(cluster, *arguments: object) -> subprocess.Popen:
    command = [BIN / "qzoctl", "--server", cluster.address, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_watched_jobs_are_printed_when_they_change_until_interrupted(cluster):
    watching = start(cluster, "get", "jobs", "-w", "-o", "json")
    seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert {job["name"].rpartition("/")[2] for job in seen} == {"first", "second"}
    cluster.submit("third", 4)
    while (job := json.loads(watching.stdout.readline()))["state"] != "SUCCEEDED":
        assert job["name"].endswith("/third"), "the others do not change"
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=60) == 130


def test_waiting_exits_as_the_job_did(cluster, tmp_path):
    job = json.loads((cluster.directory / "first.yaml").read_text())
    file = tmp_path / "job.yaml"

    def submit(name: str, steps: int) -> subprocess.Popen:
        file.write_text(json.dumps({**job, "name": name, "method": {**job["method"], "steps": steps}}))
        return start(cluster, "submit", "-f", file, "--wait")

    done = submit("short", 3)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0 and out.startswith("short SUCCEEDED") and "\x1b" not in out + err
    long = submit("long", 100000)
    for line in long.stderr:
        if "validation at step 5" in line:  # a job of so many steps shows but every 2,000th
            break
    assert start(cluster, "wait", "long", "--timeout", "0.2s").wait(timeout=60) == 4
    cluster.ctl("cancel", "long")
    out, _ = long.communicate(timeout=120)
    assert long.returncode == 3 and out.startswith("long CANCELLED")
    assert start(cluster, "wait", "long", "--for", "state=succeeded").wait(timeout=60) == 3
    assert start(cluster, "watch", "nobody").wait(timeout=60) == 7
