"""In a real kernel, as notebooks have one: what a cell shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

SETUP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fakes import FakeServer
import qzo
server = FakeServer()
client = qzo.Client(server.address)
job = qzo.FineTuningJob(name="projects/default/jobs/j", state=qzo.FineTuningJob.SUCCEEDED)
job.progress.step, job.progress.total_steps = 3, 4
server.jobs.jobs[job.name] = job
"""


@pytest.fixture(scope="module")
def run():
    manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--HistoryManager.enabled=False"])

    def execute(code: str) -> list[tuple[str, dict]]:
        """What a cell's output got: kind of message and its content."""
        shown = []
        answer = client.execute_interactive(code, timeout=60, output_hook=lambda message: shown.append((message["msg_type"], message["content"])))
        assert answer["content"]["status"] == "ok", answer["content"]
        return shown

    execute(SETUP)
    yield execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_curve_is_shown_as_a_picture(run):
    (content,) = [content for kind, content in run("client.curve('j')") if kind == "execute_result"]
    assert content["data"]["image/svg+xml"].startswith("<svg")


def test_the_bar_is_one_output_that_changes(run):
    shown = run("done = client.follow('j')")
    (cell,) = [content for kind, content in shown if kind == "display_data"]
    updates = [content for kind, content in shown if kind == "update_display_data"]
    assert {content["transient"]["display_id"] for content in updates} == {cell["transient"]["display_id"]}
    assert "3/4" in updates[-1]["data"]["text/plain"]
    assert [kind for kind, _ in shown if kind == "stream"] == []
