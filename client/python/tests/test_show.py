"""What people look at: tables of figures, pictures of curves, bars."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ElementTree

import pandas
import pytest
from fakes import FakeServer

import qzo
from qzo import FineTuningJob
from qzo.display import ProgressBar, line

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def server():
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def client(server):
    with qzo.Client(server.address, sleep=lambda seconds: None) as connected:
        yield connected


def test_metrics_are_one_row_a_step_as_pandas_wants_them(client):
    rows = client.metrics("j")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0] == {**rows[0], "train_loss": 1.0, "workers": 2, "validation_loss": 2.0}
    assert "validation_loss" not in rows[1]
    frame = pandas.DataFrame(rows).set_index("step")
    assert list(frame["train_loss"]) == [1.0, 0.5, pytest.approx(1 / 3)]
    assert frame["validation_loss"].isna().tolist() == [False, True, False]


def test_a_curve_is_a_picture_of_finite_losses(client, tmp_path):
    svg = ElementTree.fromstring(client.curve("j")._repr_svg_())
    training, validation = svg.findall(f"{SVG}polyline")
    assert len(training.get("points").split()) == 3 and len(validation.get("points").split()) == 2
    rows = [{"step": 1, "train_loss": math.inf}, {"step": 2, "train_loss": 1.0}, {"step": 3, "train_loss": math.nan}]
    curve = qzo.LossCurve(rows, title="<&>")
    assert curve.points("train_loss") == [(2, 1.0)]
    assert ElementTree.fromstring(curve.save(tmp_path / "curve.svg").read_text()).find(f"{SVG}title").text == "Loss of <&> by step"
    ElementTree.fromstring(qzo.LossCurve([]).svg())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_for_terminals_alone(server, client):
    job = FineTuningJob(name="projects/default/jobs/j", state=FineTuningJob.SUCCEEDED)
    job.progress.step, job.progress.total_steps, job.progress.train_loss = 3, 4, 0.25
    server.jobs.jobs[job.name] = job
    assert line(job) == "j [==================      ] 3/4  loss 0.25  SUCCEEDED"
    terminal, file = Terminal(), io.StringIO()
    assert client.follow("j", bar=ProgressBar(terminal)).name == job.name
    client.follow("j", bar=ProgressBar(file))
    assert "3/4" in terminal.getvalue() and terminal.getvalue().endswith("\n")
    assert file.getvalue() == ""


def test_texts_and_scores_are_asked_for_in_pythons_words(server, client):
    assert "".join(client.generate({"text": "a \u00e9"}, adapter="spam", max_tokens=5, temperature=0.5)) == "Once upon"
    request = server.inference.last
    assert request.adapter == "projects/default/adapters/spam" and request.row == '{"text": "a \u00e9"}'
    assert (request.sampling.max_tokens, request.sampling.temperature, request.sampling.top_p) == (5, 0.5, 1.0)
    list(client.generate([{"role": "user", "content": "Hi"}], model="m"))
    assert server.inference.last.conversation.messages[0].content == "Hi" and not server.inference.last.adapter
    task = {"kind": "classification", "prompt": "{text}", "options": [" no", " yes"]}
    assert [row.label for row in client.score([{"text": "a"}, {"text": "b"}], model="m", task=task).rows] == [1, 1]
    with pytest.raises(qzo.JobFileError, match="promt"):
        client.score([{"text": "a"}], model="m", task={"promt": ""})
