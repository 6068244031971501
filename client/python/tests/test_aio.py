"""The asyncio client does what its twin does."""

from __future__ import annotations

import asyncio
import inspect

import grpc
import pytest
from fakes import FakeServer

import qzo
from qzo import FineTuningJob

JOB = "projects/default/jobs/j"


@pytest.fixture
def server():
    fake = FakeServer()
    yield fake
    fake.stop()


async def _no_sleep(seconds: float) -> None:
    pass


def run(server, body, **options):
    async def main():
        async with qzo.AsyncClient(server.address, sleep=_no_sleep, **options) as client:
            return await body(client)

    return asyncio.run(main())


def test_it_has_the_methods_of_its_twin():
    def public(cls):
        return {name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}

    assert public(qzo.Client) - public(qzo.AsyncClient) == {"follow", "curve"}  # which show things
    for name in ("submit", "watch", "wait", "delete", "upload_model", "score"):
        ours, twins = (inspect.signature(getattr(cls, name)).parameters for cls in (qzo.AsyncClient, qzo.Client))
        assert list(ours) == list(twins), name


def test_submits_and_retries_what_may_be_repeated(server):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB)
    server.jobs.failures = 2

    async def body(client):
        assert (await client.get("j")).name == JOB
        server.jobs.failures = 1
        with pytest.raises(qzo.QzoError) as error:
            await client.cancel("j")
        assert error.value.code == grpc.StatusCode.UNAVAILABLE
        task = {"kind": "chat"}
        job = await client.submit({"base_model": "m", "datasets": [{"name": "d"}], "task": task, "name": "new"})
        return job.name

    assert run(server, body) == "projects/default/jobs/new"


def test_watch_sees_every_event_once_across_broken_streams(server):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB, state=FineTuningJob.SUCCEEDED)
    server.jobs.events = 9
    server.jobs.break_after = 4

    async def body(client):
        return [event.sequence async for event in client.watch("j")]

    assert run(server, body) == list(range(1, 10))
    assert server.jobs.watches >= 3


def test_lists_every_page_and_uploads_files(server, tmp_path):
    for i in range(5):
        server.jobs.jobs[f"j{i}"] = FineTuningJob(name=f"j{i}")
    (tmp_path / "m.gguf").write_bytes(b"x" * (5 << 19))

    async def body(client):
        await client.upload_model(tmp_path / "m.gguf")
        await client.upload_model(tmp_path / "m.gguf")
        return [job.name async for job in client.list()]

    assert run(server, body) == ["j0", "j1", "j2", "j3", "j4"]
    assert server.models.bytes_received == 5 << 19, "the digest was enough"


def test_a_text_comes_in_pieces_and_its_errors_are_ours(server):
    async def body(client):
        pieces = [piece async for piece in client.generate([{"role": "user", "content": "Hello"}], adapter="a")]
        with pytest.raises(qzo.QzoError, match="full"):
            async for _ in client.generate("fail", model="m"):
                pass
        return pieces

    assert run(server, body) == ["Once ", "upon"]


def test_one_connection_serves_the_holders_of_several_tokens(server, tmp_path):
    server.jobs.jobs[JOB] = FineTuningJob(name=JOB)
    (tmp_path / "token").write_text("qzo_own\n")

    async def body(client):
        seen = []
        for caller in (client, client.acting_as("qzo_other"), client.acting_as("")):
            await caller.get("j")
            seen.append(server.jobs.authorization)
        return seen

    assert run(server, body, token_file=str(tmp_path / "token")) == ["Bearer qzo_own", "Bearer qzo_other", ""]
