from __future__ import annotations

import hashlib
import subprocess

import grpc
import pytest
from fakes import FakeServer

import qzo
from qzo import FineTuningJob
from qzo._dial import is_loopback
from qzo._proto.qzo.v1.job_pb2 import SCALES, UNQUANTIZED
from qzo.job_file import load

JOB = "projects/default/jobs/j"
SPEC = {
    "base_model": "m",
    "datasets": [{"name": "d"}, {"name": "v", "split": "validation"}],
    "task": {"kind": "classification", "prompt": "{text}", "options": [" no", " yes"]},
    "method": {"preset": "qzo-paper", "steps": 3, "learning_rate": 0.01},
    "name": "j",
    "labels": {"team": "a"},
}


@pytest.fixture
def server():
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def client(server):
    with qzo.Client(server.address, sleep=lambda seconds: None) as connected:
        yield connected


def test_submits_a_dict(server, client):
    job = client.submit(SPEC, request_id="r")
    assert job.name == JOB
    request = server.jobs.last_create
    assert request.request_id == "r"
    assert request.job.spec.base_model == "projects/default/models/m"
    assert request.job.spec.validation_dataset == "projects/default/datasets/v"
    assert request.job.spec.method.steps == 3
    assert request.job.spec.method.preset == 2  # QZO_PAPER
    assert not request.job.spec.method.HasField("epochs")


def test_submits_a_file_and_uploads_what_it_names_by_path(server, client, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text":"a","label":0}\n')
    (tmp_path / "m.gguf").write_bytes(b"x" * (5 << 19))
    (tmp_path / "job.yaml").write_text("base_model: ./m.gguf\ndatasets: [{path: train.jsonl}]\ntask: {kind: chat}\n")
    client.submit(tmp_path / "job.yaml")
    assert server.jobs.last_create.job.spec.training_dataset == "projects/default/datasets/d"
    assert server.jobs.last_create.job.spec.base_model == "projects/default/models/m"
    assert server.datasets.received == b'{"text":"a","label":0}\n'
    assert server.models.bytes_received == 5 << 19
    client.submit(tmp_path / "job.yaml")
    assert server.models.bytes_received == 5 << 19, "the digest was enough"


def checkpoint(directory):
    """Three files that count and two that do not."""
    (directory / "config.json").write_text("{}")
    (directory / "a.safetensors").write_bytes(b"x" * (5 << 19))
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors"}}')
    (directory / "b.safetensors").write_bytes(b"not of the model")
    (directory / "README.md").write_text("neither")
    return directory


def test_uploads_a_directory_and_of_the_next_one_only_what_is_new(server, client, tmp_path):
    first = client.upload_model(checkpoint(tmp_path))
    names = ["a.safetensors", "config.json", "model.safetensors.index.json"]
    assert [file.name for file in first.files] == names
    sums = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout
    assert first.digest == hashlib.sha256(sums).hexdigest()
    received = server.models.bytes_received
    assert received > 5 << 19
    (tmp_path / "config.json").write_text('{"changed": true}')
    assert client.upload_model(tmp_path).digest != first.digest
    assert server.models.bytes_received == received + len('{"changed": true}')


def test_uploads_the_parts_of_a_split_model_by_the_first(server, client, tmp_path):
    for i in (1, 2):
        (tmp_path / f"m-0000{i}-of-00002.gguf").write_bytes(b"part" * i)
    by_part = client.upload_model(tmp_path / "m-00001-of-00002.gguf")
    assert [file.name for file in by_part.files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert client.upload_model(tmp_path).digest == by_part.digest, "the directory means the same"
    assert server.models.bytes_received == 12


def test_names_every_problem_of_a_job(client):
    bad = {
        "base_modle": "m",
        "datasets": [{"path": "a", "name": "b", "split": "test"}, {"split": "tset"}],
        "task": {"kind": "clasification"},
        "method": {"stepz": 1, "probes": "many", "train": []},
    }
    with pytest.raises(qzo.JobFileError) as error:
        client.submit(bad)
    text = str(error.value)
    for part in (
        "base_modle: unknown key (did you mean 'base_model'?)",
        "base_model: missing",
        "datasets.0: expected either a path or a name",
        "datasets.1.split: found 'tset'",
        "datasets: no entry has split: train",
        "task.kind:",
        "method.stepz: unknown key (did you mean 'steps'?)",
        "method.probes:",
        "method.train: an empty list",
    ):
        assert part in text


def test_spells_names_in_lists_as_it_does_alone():
    job = {"base_model": "m", "datasets": [{"name": "d"}], "task": {"kind": "chat"}, "method": {"train": ["scales", "unquantized"]}}
    method = load(job, "p").job.spec.method
    assert list(method.train) == [SCALES, UNQUANTIZED]
    job["method"] = {"train": ["norms"]}
    with pytest.raises(qzo.JobFileError, match="method.train"):
        load(job, "p")


def test_retries_reads_and_creates_but_no_change_of_state(server, client):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB)
    server.jobs.failures = 2
    assert client.get("j").name == JOB
    server.jobs.failures = 2
    client.submit(SPEC)
    server.jobs.failures = 1
    with pytest.raises(qzo.QzoError) as error:
        client.cancel("j")
    assert error.value.code == grpc.StatusCode.UNAVAILABLE
    assert server.jobs.calls == 7


def test_gives_up_after_four_attempts(server, client):
    server.jobs.failures = 100
    with pytest.raises(qzo.QzoError, match="made to fail"):
        client.get("j")
    assert server.jobs.calls == 4


def test_errors_carry_the_servers_reason(client):
    with pytest.raises(qzo.QzoError) as error:
        client.get("none")
    assert (error.value.code, error.value.reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_JOB")


def test_lists_every_page(server, client):
    for i in range(5):
        server.jobs.jobs[f"j{i}"] = FineTuningJob(name=f"j{i}")
    assert [job.name for job in client.list()] == ["j0", "j1", "j2", "j3", "j4"]


def test_watch_sees_every_event_once_across_broken_streams(server, client):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB, state=FineTuningJob.SUCCEEDED)
    server.jobs.events = 9
    server.jobs.break_after = 4
    assert [event.sequence for event in client.watch("j")] == list(range(1, 10))
    assert server.jobs.watches >= 3
    assert [event.sequence for event in client.watch("j", 8)] == [8, 9]


def test_watch_raises_what_is_not_the_connections_fault(client):
    with pytest.raises(qzo.QzoError) as error:
        list(client.watch("none"))
    assert error.value.code == grpc.StatusCode.NOT_FOUND


def test_wait_returns_the_ended_job_or_times_out(server, client):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB, state=FineTuningJob.RUNNING)
    with pytest.raises(TimeoutError, match="RUNNING"):
        client.wait("j", timeout=0)
    server.jobs.jobs[JOB].state = FineTuningJob.FAILED
    assert client.wait("j").state == FineTuningJob.FAILED


def test_sends_the_token_with_every_call_and_reads_it_anew(server, tmp_path):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB, state=FineTuningJob.SUCCEEDED)
    token = tmp_path / "token"
    token.write_text("qzo_1\n")
    with qzo.Client(server.address, token_file=str(token)) as client:
        client.get("j")
        assert server.jobs.authorization == "Bearer qzo_1"
        token.write_text("qzo_2\n")
        list(client.watch("j"))
        assert server.jobs.authorization == "Bearer qzo_2"
    with qzo.Client(server.address) as client:
        client.get("j")
        assert server.jobs.authorization == ""
    with pytest.raises(OSError, match="absent"):
        qzo.Client(server.address, token_file=str(tmp_path / "absent"))


def test_leaves_the_machine_in_clear_text_only_when_asked(server, monkeypatch):
    here = ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/run/qzo.sock"]
    away = ["10.0.0.1:1", "127.evil.example:1", "localhost.evil.example:1", "qzo:7070", "[::2]:1"]
    assert [a for a in here + away if is_loopback(a)] == here
    made = []
    monkeypatch.setattr(grpc, "insecure_channel", lambda *unused: made.append("clear") or grpc.secure_channel("x:1", grpc.ssl_channel_credentials()))
    qzo.Client("qzo.example:7070")
    assert made == []
    qzo.Client("qzo.example:7070", insecure=True)
    assert made == ["clear"]
