"""A real Prometheus scrapes a real cluster: every panel and every alert has to find its series there."""

from __future__ import annotations

import json
import math
import re
import signal
import urllib.parse

import pytest
import yaml
from cluster import DEPLOY, ROOT, Cluster, Process, eventually, http

DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
# What Grafana fills in.
VARIABLES = {"__rate_interval": "1m", "namespace": ".*", "project": ".*", "name": ".*", "instance": ".*"}
# Panels whose value is known: a cluster of two workers with one job that goes on and on.
VALUES = {
    "Coordinators up": 1, "Jobs running": 1, "Jobs queued": 0, "Workers ready": 2, "Disagreements": 0,
    "Write errors": 0, "Without a coordinator": 0,
}  # fmt: skip


def panels(path):
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def expression(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace("$" + name, value)
    assert "$" not in text, text
    return text


class Prometheus:
    def __init__(self, cluster: Cluster, directory):
        self._targets = directory / "targets.json"
        self.watch(cluster)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "prometheus/alerts.yaml")],
            "scrape_configs": [
                {
                    "job_name": job,
                    "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
                    "relabel_configs": [{"source_labels": ["program"], "regex": job, "action": "keep"}],
                }
                for job in ("qzo-server", "qzo-worker")
            ],
        }
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        self.process = Process(
            "prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0", log=directory / "prometheus.log",
        )  # fmt: skip
        self._url = "http://" + self.process.find(r'"Listening on" address=(\S+)')
        eventually(lambda: http(f"{self._url}/-/ready")[0] == 200, what="Prometheus")

    def watch(self, cluster: Cluster):
        """Scrapes what the cluster consists of now."""
        groups = [
            {"targets": [address], "labels": {"program": "qzo-server" if name == "server" else "qzo-worker"}}
            for name, address in cluster.metrics.items()
        ]
        self._targets.write_text(json.dumps(groups))

    def ask(self, path: str, **parameters: str):
        code, body = http(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        assert code == 200 and answer["status"] == "success", (path, parameters, answer)
        return answer["data"]

    def query(self, text: str) -> list[float]:
        """The finite values of all series."""
        values = [float(sample["value"][1]) for sample in self.ask("query", query=text)["result"]]
        return [value for value in values if math.isfinite(value)]

    def names(self) -> set[str]:
        return set(self.ask("label/__name__/values"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Two workers, a job that goes on and on, one that has ended, and a Prometheus that saw it all from the beginning."""
    directory = tmp_path_factory.mktemp("monitoring")
    cluster = Cluster(directory)
    for worker in ("w1", "w2"):
        cluster.start_worker(worker)
    prometheus = Prometheus(cluster, directory)
    eventually(lambda: prometheus.query("sum(up)") == [3], what="three targets")
    cluster.submit("short", 12)
    cluster.submit("long", 100_000)
    yield cluster, prometheus
    prometheus.process.kill()
    cluster.close()


def test_every_panel_has_data(watched):
    cluster, prometheus = watched
    waiting = {
        (path.stem, panel["title"], target["expr"]): VALUES.get(panel["title"])
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    }
    assert VALUES.keys() <= {title for _, title, _ in waiting}

    def all_seen():
        cluster.ctl("get", "jobs")  # somebody calls
        for key, value in list(waiting.items()):
            found = prometheus.query(expression(key[2]))
            if found == [value] or (value is None and found):
                del waiting[key]
        return not waiting

    try:
        eventually(all_seen, 120)
    except AssertionError:
        pytest.fail(f"nothing found for {sorted(waiting)}")


def test_the_documented_metrics_are_those_there_are(watched):
    cluster, prometheus = watched
    cells = re.findall(r"^\| (`(?:qzo|grpc)_[^|]+)", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"\w+", cell)}
    shown = set()
    for address in cluster.metrics.values():
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", http(f"http://{address}/metrics")[1], re.MULTILINE):
            if not name.startswith("process_"):
                shown.add(name)
            assert (kind == "counter") == name.endswith("_total"), name
    assert documented == shown


def test_alerts_are_silent_and_their_metrics_exist(watched):
    _, prometheus = watched

    def silent():  # but for what was pending until the first scrape
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        states = {rule["name"]: (rule["health"], rule["state"]) for rule in rules}
        return states == {name: ("ok", "inactive") for name in RULES}

    eventually(silent, what="silence")
    for name, rule in RULES.items():
        used = set(re.findall(r"\b(?:qzo|grpc_server|process)_\w+|\bup\b", rule["expr"]))
        assert used and used <= prometheus.names(), name


def test_alerts_have_runbooks():
    anchors = {line[3:].strip().lower() for line in (ROOT / "docs/runbooks.md").read_text().splitlines() if line.startswith("## ")}
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert anchors >= {name.lower() for name in RULES}


# Last: they take the cluster apart.


def test_a_job_that_ended_has_no_series(watched):
    cluster, prometheus = watched
    assert prometheus.query('qzo_job_step{name="long"}')
    cluster.ctl("cancel", "long")
    cluster.ctl("wait", "short", "--for=state=succeeded", "--timeout", "100s")
    eventually(lambda: "project=" not in http(f"http://{cluster.metrics['server']}/metrics")[1], what="the end of the series")
    eventually(lambda: not prometheus.query("qzo_job_step"), what="Prometheus noticing that")


def test_alerts_see_what_goes_wrong(watched):
    cluster, prometheus = watched
    cluster.submit("another", 100_000)
    eventually(lambda: cluster.step("another") > 0)

    def fires(alert: str):
        eventually(lambda: prometheus.query(RULES[alert]["expr"]), what=alert)

    cluster.workers["w1"].kill()
    fires("QzoWorkersLost")
    assert cluster.workers["w2"].stop() == 0
    fires("QzoNoWorkers")
    cluster.start_worker("w3")
    prometheus.watch(cluster)
    eventually(lambda: prometheus.query("max(qzo_worker_attached)") == [1])
    cluster.server.signal(signal.SIGKILL)
    fires("QzoCoordinatorDown")
    fires("QzoWorkerDetached")
    assert http(f"http://{cluster.metrics['w3']}/readyz") == (503, "no coordinator\n")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_well_formed(path):
    board = json.loads(path.read_text())
    assert board["uid"] == f"qzo-{path.stem}" and board["tags"] == ["qzo"] and board["refresh"] == "10s"
    assert [variable["name"] for variable in board["templating"]["list"]][:2] == ["datasource", "namespace"]
    assert {variable["name"] for variable in board["templating"]["list"]} <= {"datasource", *VARIABLES}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
