"""The clients of examples/clients, each built and run against real programs over TLS with a token, through connections that break."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading

import pytest
from cluster import GOLDEN, ROOT, Cluster

MODEL = GOLDEN / "models/stories260k/stories260K-Q4_1.gguf"
STEPS = 300
CUT_AFTER = 8000  # bytes from the server: a watch has begun, and has not come to its end


class Breaking:
    """Forwards to a server, and cuts its first connections in the middle of what they hear."""

    def __init__(self, server: str, cuts: int):
        self.cuts = cuts
        self._server = (server.rpartition(":")[0], int(server.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        heard = 0
        try:
            while data := source.recv(4096):
                heard += len(data)
                if counts and self.cuts and heard > CUT_AFTER:
                    self.cuts -= 1
                    break
                target.sendall(data)
        except OSError:
            pass  # the other direction has cut it
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    key, certificate, secret = directory / "key.pem", directory / "cert.pem", directory / "admin"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=qzo", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    # Of qzoctl, the worker and the clients.
    os.environ |= {"QZO_TLS_CA": str(certificate), "QZO_TOKEN_FILE": str(secret)}
    running = Cluster(directory, "--tls-cert", certificate, "--tls-key", key, "--admin-token-file", secret)
    running.start_worker("w1")
    yield running
    running.close()
    del os.environ["QZO_TLS_CA"], os.environ["QZO_TOKEN_FILE"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [{"text": f"{name} went to the park {i} times.", "label": i % 2} for i, name in enumerate(["Lily", "Tom", "Ben", "Mia"] * 4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module", params=["go", "java"])
def client(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    built = subprocess.run([ROOT / f"examples/clients/{request.param}/build.sh", out], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out / "client"


def run(client, address: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [client, *map(str, arguments)], capture_output=True, text=True, timeout=180, env={**os.environ, "QZO_SERVER": address}
    )


def test_it_follows_a_job_to_its_end_over_connections_that_break(client, cluster, rows):
    breaking = Breaking(cluster.address, cuts=2)
    done = run(client, breaking.address, MODEL, rows, rows, STEPS)
    breaking.close()
    assert done.returncode == 0, done.stderr
    name, *steps, result = done.stdout.splitlines()
    assert re.fullmatch(r"projects/default/jobs/[a-z0-9-]+", name)
    assert [int(re.fullmatch(r"step (\d+) loss \d+\.\d{4}", line).group(1)) for line in steps] == list(range(1, STEPS + 1))
    assert breaking.cuts == 0, "both cuts came, and no step was lost or shown twice"
    job = cluster.job(name)
    test = job["progress"]["finalTest"]
    assert result == f"SUCCEEDED: accuracy {test['accuracy']:.3f}, loss {test['loss']:.4f}, adapter {job['adapter']}"


def test_it_names_the_reason_of_an_error(client, cluster, rows, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "a", "label": 0}\n{"text": \n')
    refused = run(client, cluster.address, MODEL, bad, rows, 1)
    assert refused.returncode == 1 and "BAD_ROWS" in refused.stderr
    unreachable = run(client, "127.0.0.1:1", MODEL, rows, rows, 1)
    assert unreachable.returncode == 1 and unreachable.stderr
