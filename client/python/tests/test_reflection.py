"""The API described by itself: a client that knows nothing of QZO calls a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(os.environ.get("QZO_SOURCE_DIR", Path(__file__).parents[3]))
BIN = os.environ.get("QZO_BIN_DIR")

pytestmark = pytest.mark.skipif(BIN is None, reason="QZO_BIN_DIR names no programs")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    command = [f"{BIN}/qzo-server", "--listen", "127.0.0.1:0", "--metrics-address", "", "--reflection", "--data-dir"]
    server = subprocess.Popen([*command, str(tmp_path_factory.mktemp("data"))], stderr=subprocess.PIPE, text=True)
    serving = next(found for line in server.stderr if (found := re.search(r"serving on (\S+),", line)))
    yield serving.group(1)
    server.terminate()
    server.communicate()


def call(*arguments: str) -> subprocess.CompletedProcess:
    script = SOURCE / "examples/generic_client/call.py"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=60)


def test_it_lists_what_there_is(address):
    listed = call(address)
    assert listed.returncode == 0, listed.stderr
    protos = "".join(path.read_text() for path in (SOURCE / "proto/qzo/v1").glob("*.proto"))
    for method in re.findall(r"^  rpc (\w+)\(", protos, re.MULTILINE):
        assert f"/{method}(" in listed.stdout, method


def test_it_calls_a_method_in_json(address):
    answer = call(address, "qzo.v1.JobService/ListJobs", '{"parent": "projects/-"}')
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {}
    missing = call(address, "qzo.v1.JobService/GetJob", '{"name": "projects/p/jobs/none"}')
    assert missing.returncode == 1 and "NOT_FOUND" in missing.stderr
    watched = call(address, "qzo.v1.JobService/WatchJob", '{"name": "projects/p/jobs/none"}')
    assert watched.returncode == 1 and "NOT_FOUND" in watched.stderr
