"""A real qzo-server with a worker, from $QZO_BIN_DIR, trains the tiny model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

import qzo

MODEL = Path(__file__).resolve().parents[3] / "tests/golden/models/stories260k/stories260K-Q4_1.gguf"
BIN = os.environ.get("QZO_BIN_DIR") or (os.path.dirname(found) if (found := shutil.which("qzo-server")) else None)
pytestmark = pytest.mark.skipif(BIN is None, reason="set QZO_BIN_DIR to the folder of qzo-server and qzo-worker")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    data = tmp_path_factory.mktemp("qzo")
    command = [f"{BIN}/qzo-server", "--dev", "--dev-worker-threads", "1", "--listen", "127.0.0.1:0"]
    command += ["--metrics-address", "", "--page-address", ""]
    environment = {**os.environ, "XDG_CACHE_HOME": str(data / "cache")}
    server = subprocess.Popen(
        [*command, "--data-dir", str(data / "data")], stderr=subprocess.PIPE, text=True, env=environment
    )
    log = []
    for line in server.stderr:
        log.append(line)
        if serving := re.search(r"serving on (\S+),", line):
            break
    else:
        pytest.fail("qzo-server ended:\n" + "".join(log))
    drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
    with qzo.Client(serving.group(1)) as connected:
        yield connected
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    drain.wait(timeout=10)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    names = ["Lily", "Tom", "Ben", "Mia"]
    lines = [{"text": f"{name} went to the park {i} times.", "label": i % 2} for i, name in enumerate(names * 4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_job_from_submit_to_adapter(client, rows, tmp_path):
    job = client.submit(
        {
            "base_model": str(MODEL),
            "datasets": [{"path": str(rows)}, {"path": str(rows), "split": "test"}],
            "task": {"kind": "classification", "prompt": "{text} It was", "options": [" sad", " fun"], "sequence_len": 64},
            "method": {"steps": 5, "batch_size": 4, "probes": 2},
            "name": "tiny",
        }
    )
    assert job.name == "projects/default/jobs/tiny"
    steps = [event.step.step for event in client.watch("tiny") if event.HasField("step")]
    assert steps == [1, 2, 3, 4, 5]
    done = client.wait("tiny", timeout=60)
    assert done.state == qzo.FineTuningJob.SUCCEEDED, done.message
    assert done.progress.final_test.rows == 16
    path = client.download_adapter("tiny", tmp_path / "tiny.safetensors")
    assert path.stat().st_size == client.get_adapter(done.adapter).bytes
    assert {evaluation.split for evaluation in client.evaluations("tiny")} == {"test"}
    assert "tiny" in [other.name.split("/")[-1] for other in client.list()]
    (record,) = client.audit(method="CreateJob", resource=job.name, start_time=job.create_time.ToDatetime(timezone.utc))
    assert (record.caller, record.code) == ("anonymous", "OK")
    assert not list(client.audit(method="CreateJob", end_time=datetime(2020, 1, 1, tzinfo=timezone.utc)))


def test_the_server_explains_what_is_wrong(client, rows):
    with pytest.raises(qzo.QzoError) as error:
        client.submit(
            {
                "base_model": str(MODEL),
                "datasets": [{"path": str(rows)}],
                "task": {"kind": "classification", "prompt": "{txt}", "options": [" a", " b"]},
                "method": {"steps": 5, "probes": 1000},
            },
            validate_only=True,
        )
    assert error.value.violations
