"""What people type every day, against real programs: top, plot, diff, chat, contexts, completion."""

from __future__ import annotations

import os
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
