"""OpenAI's own Python package, unchanged, against the gateway in front of real programs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import openai
import pytest
from cluster import GOLDEN, Cluster, eventually

MODEL = GOLDEN / "models/stories260k/stories260K-Q4_1.gguf"


def start_gateway(cluster: Cluster, port: int, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "qzo_gateway", "--listen", f"127.0.0.1:{port}", "--server", cluster.address, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(cluster.directory / "gateway.log").open("w"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Wants tokens; one worker."""
    directory = tmp_path_factory.mktemp("cluster")
    os.environ["QZO_TOKEN_FILE"] = str(directory / "admin")
    running = Cluster(directory, "--admin-token-file", directory / "admin", "--import-model", MODEL)
    running.start_worker("w1")
    running.secret = (directory / "admin").read_text().strip()
    yield running
    running.close()
    del os.environ["QZO_TOKEN_FILE"]


@pytest.fixture(scope="module")
def base_url(cluster):
    port = free_port()
    gateway = start_gateway(cluster, port)
    url = f"http://127.0.0.1:{port}/v1"
    client = openai.OpenAI(base_url=url, api_key=cluster.secret, max_retries=0)

    def answers():
        try:
            return client.models.list().data
        except openai.APIConnectionError:
            assert gateway.poll() is None, (cluster.directory / "gateway.log").read_text()
            return None

    eventually(answers, what="an answer of the gateway")
    yield url
    gateway.terminate()
    gateway.wait(timeout=30)


@pytest.fixture
def client(cluster, base_url):
    return openai.OpenAI(base_url=base_url, api_key=cluster.secret, max_retries=0)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "stories.jsonl"
    names = ["Lily", "Tom", "Ben", "Mia"]
    with path.open("w") as file:
        for i in range(16):
            messages = [
                {"role": "user", "content": f"Tell me about {names[i % 4]}."},
                {"role": "assistant", "content": f"{names[i % 4]} went to the park {i} times."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture(scope="module")
def tuned(cluster, base_url, rows):
    """A job from upload to end, as OpenAI's guide has it."""
    client = openai.OpenAI(base_url=base_url, api_key=cluster.secret, max_retries=0)
    file = client.files.create(file=rows.open("rb"), purpose="fine-tune")
    validation = client.files.create(file=("validation.jsonl", rows.read_bytes()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="stories260k-q4-1",
        training_file=file.id,
        validation_file=validation.id,
        suffix="stories",
        seed=7,
        metadata={"team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
    )
    assert job.status in ("queued", "running") and job.id.startswith("ftjob-")
    assert (job.training_file, job.seed, job.metadata) == (file.id, 7, {"team": "a"})
    return eventually(lambda: (now := client.fine_tuning.jobs.retrieve(job.id)).status == "succeeded" and now, seconds=180, what="the job")


def test_files(client, rows):
    file = client.files.create(file=rows.open("rb"), purpose="fine-tune")
    assert (file.filename, file.bytes, file.status) == ("stories.jsonl", rows.stat().st_size, "processed")
    assert client.files.retrieve(file.id).id == file.id
    assert file.id in [other.id for other in client.files.list()]
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=b'{"messages": []\n', purpose="fine-tune")
    assert "1:" in str(error.value), "the line is named"
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=rows.open("rb"), purpose="assistants")
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-none")


def test_a_job_tells_its_events_and_checkpoints(client, tuned):
    assert tuned.fine_tuned_model.startswith("ft:stories260k-q4-1:default:stories:")
    assert tuned.hyperparameters.n_epochs == 2 and tuned.finished_at >= tuned.created_at
    events = list(client.fine_tuning.jobs.list_events(tuned.id, limit=5))  # over several pages
    steps = [event.data["step"] for event in events if event.type == "metrics" and "train_loss" in event.data]
    assert steps == list(range(8, 0, -1)), "newest first, each once"
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(tuned.id))
    assert checkpoints and checkpoints[0].metrics.full_valid_loss > 0
    assert checkpoints[0].step_number == 8
    assert tuned.id in [job.id for job in client.fine_tuning.jobs.list()]
    assert tuned.fine_tuned_model.rpartition(":")[2] in [m.id.rpartition(":")[2] for m in client.models.list()]


def test_a_job_is_paused_resumed_and_cancelled(client, tuned):
    job = client.fine_tuning.jobs.create(
        model="stories260k-q4-1", training_file=tuned.training_file, hyperparameters={"n_epochs": 500, "batch_size": 4}
    )
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError) as error:
        client.fine_tuning.jobs.cancel(job.id)
    assert error.value.code == "WRONG_JOB_STATE"


def test_what_was_trained_answers(client, tuned):
    messages = [{"role": "user", "content": "Tell me about Lily."}]
    answer = client.chat.completions.create(model=tuned.fine_tuned_model, messages=messages, max_tokens=16, temperature=0)
    text = answer.choices[0].message.content
    assert text and answer.usage.completion_tokens <= 16 and answer.usage.prompt_tokens > 0
    assert answer.choices[0].finish_reason in ("stop", "length")
    stream = client.chat.completions.create(
        model=tuned.fine_tuned_model, messages=messages, max_tokens=16, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    base = client.chat.completions.create(model="stories260k-q4-1", messages=messages, max_tokens=16, temperature=0)
    assert base.choices[0].message.content
    stop = text[3:5]
    cut = client.chat.completions.create(model=tuned.fine_tuned_model, messages=messages, max_tokens=16, temperature=0, stop=[stop])
    assert cut.choices[0].message.content == text[: text.index(stop)] and cut.choices[0].finish_reason == "stop"


def test_errors_are_openais(cluster, base_url, client, tuned):
    with pytest.raises(openai.BadRequestError) as error:
        client.fine_tuning.jobs.create(model="stories260k-q4-1", training_file=tuned.training_file, hyperparameters={"batch_size": 0})
    assert "batch_size" in error.value.message
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "?"}])
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="stories260k-q4-1", messages=[{"role": "user", "content": "?"}], n=2)
    assert error.value.param == "n"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="stories260k-q4-1", messages=[])
    for key in ("sk-not-ours", "qzo_" + "0" * 64):
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=base_url, api_key=key, max_retries=0).fine_tuning.jobs.list()


def test_a_key_of_another_project_sees_nothing(cluster, base_url, tuned, tmp_path):
    cluster.ctl("--project", "other", "token", "create", "reader", "--role", "submitter", "-f", tmp_path / "token")
    other = openai.OpenAI(base_url=base_url, api_key=(tmp_path / "token").read_text().strip(), project="other", max_retries=0)
    assert other.fine_tuning.jobs.list().data == []
    with pytest.raises(openai.NotFoundError):
        other.fine_tuning.jobs.retrieve(tuned.id)
    with pytest.raises(openai.NotFoundError):
        other.chat.completions.create(model=tuned.fine_tuned_model, messages=[{"role": "user", "content": "?"}])


def test_beyond_this_machine_it_wants_tls():
    command = [sys.executable, "-m", "qzo_gateway", "--listen", "0.0.0.0:7090"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "--tls-cert" in refused.stderr
