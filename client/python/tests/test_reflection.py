"""The API described by itself: a client that knows nothing of QZO calls a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(os.environ.get("QZO_SOURCE_DIR", Path(__file__).parents[3]))
BIN = os.environ.get("QZO_BIN_DIR")

pytestmark = pytest.mark.skipif(BIN is None, reason="QZO_BIN_DIR names no programs")


@contextlib.contextmanager
def serving(directory: Path, *flags: object) -> Iterator[str]:
    command = [f"{BIN}/qzo-server", "--listen", "127.0.0.1:0", "--metrics-address", "", "--reflection", "--data-dir", directory, *flags]
    server = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    yield next(found for line in server.stderr if (found := re.search(r"serving on (\S+),", line))).group(1)
    server.terminate()
    server.communicate()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("data")) as found:
        yield found


def call(*arguments: str, **environment: object) -> subprocess.CompletedProcess:
    command = [sys.executable, SOURCE / "examples/generic_client/call.py", *arguments]
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)


def test_it_lists_what_there_is(address):
    listed = call(address)
    assert listed.returncode == 0, listed.stderr
    # Workers serve one another by stage.proto, the server all else.
    protos = "".join(path.read_text() for path in (SOURCE / "proto/qzo/v1").glob("*.proto") if path.stem != "stage")
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


def test_a_description_needs_no_token_and_a_call_does(tmp_path):
    key, certificate, secret = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "admin"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=qzo", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    flags = ("--tls-cert", certificate, "--tls-key", key, "--admin-token-file", secret)
    with serving(tmp_path / "data", *flags) as address:
        assert "qzo.v1.JobService/GetJob(" in call(address, QZO_TLS_CA=certificate).stdout
        request = ("qzo.v1.JobService/ListJobs", '{"parent": "projects/-"}')
        refused = call(address, *request, QZO_TLS_CA=certificate)
        assert refused.returncode == 1 and "UNAUTHENTICATED" in refused.stderr
        answer = call(address, *request, QZO_TLS_CA=certificate, QZO_TOKEN_FILE=secret)
        assert answer.returncode == 0 and json.loads(answer.stdout) == {}
