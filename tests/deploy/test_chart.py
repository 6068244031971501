"""The chart through Helm's own renderer; what comes out against the Kubernetes schemas and the real programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster import BIN, DEPLOY, Process, eventually, http

helm = pytest.importorskip("helm_python")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

CHART = DEPLOY / "helm/qzo"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = ("1.29", "1.33")  # an old one and a new one
CUSTOM = {  # resources of operators, whose schemas are not ours: the keys that they cannot do without
    "cert-manager.io/v1/Issuer": set(),
    "cert-manager.io/v1/Certificate": {"secretName", "issuerRef"},
    "keda.sh/v1alpha1/ScaledObject": {"scaleTargetRef", "triggers"},
    "monitoring.coreos.com/v1/ServiceMonitor": {"selector", "endpoints"},
    "monitoring.coreos.com/v1/PodMonitor": {"selector", "podMetricsEndpoints"},
    "monitoring.coreos.com/v1/PrometheusRule": {"groups"},
}
GPU = {"gpu": {"enabled": True}}
VALUES = {
    "default": {},
    "clear text": {"tls": {"enabled": False}, "insecure": True, "stages": {"enabled": True, "port": 7000}},
    "everything": {
        "monitoring": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbooks": "https://wiki.example/qzo",
            "secured": {"enabled": True, "tokenSecret": "watcher"},
        },
        "workers": {
            "cpu": {
                "kueueQueue": "training",
                "nodeSelector": {"pool": "cheap"},
                "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
                "extraEnv": [{"name": "QZO_MAX_ROWS", "value": "1024"}],
                "priorityClassName": "low",
            },
            **GPU,
        },
        "auth": {"tokenSecret": "tokens"},
        "stages": {"enabled": True},
        "podDisruptionBudget": {"workers": {"enabled": True}},
        "coordinator": {"storage": {"storageClass": "fast"}, "image": {"tag": "1.2.3"}},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "a"},
        "podAnnotations": {"note": "b"},
        "tls": {"extraDnsNames": ["qzo.example"], "certManager": {"issuerRef": {"name": "ca", "kind": "ClusterIssuer"}}},
    },
}


def render(values: dict, name: str = "r") -> list[dict]:
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=name, namespace="ns")
    documents = []
    for path, text in files.items():
        if not path.endswith(".txt"):
            documents += [document for document in yaml.safe_load_all(text) if document]
    return documents


@pytest.fixture(params=VALUES, scope="module")
def documents(request) -> list[dict]:
    return render(VALUES[request.param])


def pods(documents):
    for document in documents:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["spec"]
        elif "template" in document.get("spec", {}):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def find(documents, kind, name):
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))


def test_helm_has_nothing_to_say():
    report = helm.lint(CHART, strict=True)
    assert not report["errors"]
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


def test_documents_follow_the_schemas(documents):
    assert len({(d["kind"], d["metadata"]["name"]) for d in documents}) == len(documents)
    for document in documents:
        kind = f"{document['apiVersion']}/{document['kind']}"
        if kind in CUSTOM:
            assert CUSTOM[kind] <= document["spec"].keys(), document["metadata"]["name"]
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["namespace"] == "ns"
        labels = document["metadata"]["labels"]
        for label in ("name", "instance", "component", "version", "part-of", "managed-by"):
            assert labels[f"app.kubernetes.io/{label}"], document["metadata"]["name"]


def test_pods_are_restricted_and_ask_nothing_of_kubernetes(documents):
    for name, pod in pods(documents):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False, name
        allowed = {"emptyDir", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"]), name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }, name  # fmt: skip
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], name
            claims = {"data"} if "coordinator" in name else set()
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in pod["volumes"]} | claims, name


def test_arguments_and_ports_are_those_of_the_programs(documents, flags, variables):
    for name, pod in pods(documents):
        (container,) = pod["containers"]
        program, used = container["name"], {}
        for argument in container["args"]:
            flag, _, value = argument.partition("=")
            if flag.startswith("--"):
                used[flag] = value
        assert used.keys() <= flags[program], name
        read = {entry["name"] for entry in container.get("env", []) if entry["name"].startswith("QZO_")}
        assert read <= variables, name
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        if program != "qzoctl":
            assert used["--metrics-address"] == f"0.0.0.0:{ports['metrics']}"
        if "--stage-address" in used:
            assert used["--stage-address"] == f"0.0.0.0:{ports['stages']}"
            assert used["--stage-advertise"] == f"$(POD_IP):{ports['stages']}"
        if program == "qzo-server":
            assert used["--listen"] == f"0.0.0.0:{ports['grpc']}"
            assert used["--page-address"] == f"0.0.0.0:{ports['page']}"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports
        for path in (value for value in used.values() if value.startswith("/")):
            assert any(Path(path).is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"]), path


def test_probes_ask_what_the_programs_answer(cluster):
    cluster.start_worker("w")
    probes = {
        probe["httpGet"]["path"]
        for _, pod in pods(render({}))
        for container in pod["containers"]
        for key, probe in container.items()
        if key.endswith("Probe")
    }
    assert probes == {"/livez", "/readyz"}
    for address in cluster.metrics.values():
        for path in probes:
            eventually(lambda url=f"http://{address}{path}": http(url)[0] == 200, what=path)


def certificates(documents, directory):
    """What cert-manager would make of the chart's Certificates, in directory/SECRET; all of one authority."""

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca = directory / "ca.crt"
    openssl("req", "-x509", *key, "-keyout", directory / "ca.key", "-out", ca, "-subj", "/CN=ca", "-days", 2)
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] != "Certificate" or spec.get("isCA"):
            continue
        secret = directory / spec["secretName"]
        secret.mkdir()
        names = [f"DNS:{name}" for name in spec.get("dnsNames", [])] + [f"URI:{uri}" for uri in spec.get("uris", [])]
        openssl("req", "-x509", *key, "-CA", ca, "-CAkey", directory / "ca.key", "-keyout", secret / "tls.key", "-out", secret / "tls.crt",
                "-subj", f"/CN={spec['commonName']}", "-days", 2, "-addext", f"subjectAltName={','.join(names)}")  # fmt: skip
        (secret / "ca.crt").write_bytes(ca.read_bytes())


@pytest.mark.parametrize("secured", [False, True])
def test_the_programs_start_as_the_chart_starts_them(tmp_path, secured):
    documents = render({
        "tls": {"extraDnsNames": ["localhost"]}, "stages": {"enabled": True},
        "monitoring": {"enabled": True, "secured": {"enabled": secured, "tokenSecret": "watcher"}},
    })  # fmt: skip
    certificates(documents, tmp_path)
    started = []

    def arguments(name, server):
        """Those of the pod, with this machine's paths and addresses for the cluster's."""
        pod = dict(pods(documents))[name]
        words = pod["containers"][0]["args"]
        secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        replaced = {
            "/etc/qzo/tls": str(tmp_path / secrets[0]), "/var/lib/qzo": str(tmp_path / "data"), "/var/cache/qzo": str(tmp_path / "cache"),
            "$(POD_NAME)": name, "0.0.0.0:7070": "127.0.0.1:0", "0.0.0.0:7080": "127.0.0.1:0", "0.0.0.0:946": "127.0.0.1:0#", "0.0.0.0:7072": "127.0.0.1:0", "$(POD_IP):7072": "127.0.0.1:0", "r-qzo-coordinator.ns.svc:7070": server,
        }  # fmt: skip
        for old, new in replaced.items():
            words = [word.replace(old, new).partition("#")[0] for word in words]
        return words

    def start(program, name, server=""):
        started.append(Process(BIN / program, *arguments(name, server), log=tmp_path / f"{program}.log"))
        return started[-1], "127.0.0.1:" + started[-1].find(r"metrics on port (\d+)")

    try:
        coordinator, metrics = start("qzo-server", "r-qzo-coordinator")
        server = "localhost:" + coordinator.find(r"serving on \S+:(\d+),")
        token = (tmp_path / "data/admin-token").read_text().strip()
        probe = find(documents, "StatefulSet", "r-qzo-coordinator")["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
        scheme = probe["httpGet"]["scheme"].lower()
        eventually(lambda: curl(f"{scheme}://{metrics}/readyz") == 200)
        if secured:
            (endpoint,) = find(documents, "ServiceMonitor", "r-qzo-coordinator")["spec"]["endpoints"]
            trusted = endpoint["tlsConfig"]["ca"]["secret"]
            seen_as = endpoint["tlsConfig"]["serverName"]
            url = f"{endpoint['scheme']}://{seen_as}:{metrics.rpartition(':')[2]}/metrics"
            verified = ["--cacert", tmp_path / trusted["name"] / trusted["key"], "--resolve", f"{url.split('/')[2]}:127.0.0.1"]
            assert curl(url, *verified) == 401
            assert curl(url, *verified, "-H", f"authorization: Bearer {token}") == 200
        _, metrics = start("qzo-worker", "r-qzo-worker-cpu", server)
        eventually(lambda: http(f"http://{metrics}/readyz")[0] == 200, what="the worker attached")
        shown = subprocess.run([BIN / "qzoctl", *arguments("r-qzo-test", server)], capture_output=True, text=True)
        assert shown.returncode == 0 and "r-qzo-worker-cpu" in shown.stdout, shown.stderr
    finally:
        for process in started:
            process.kill()


def curl(url, *options):
    """The status of the answer; a server's certificate is verified only with --cacert, as the kubelet does."""
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *([] if "--cacert" in options else ["-k"]), *options, url]
    return int(subprocess.run(words, capture_output=True, text=True).stdout)


def test_selectors_select(documents):
    templates = [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] in ("Deployment", "StatefulSet")]

    def matches(selector):
        return [labels for labels in templates if selector.items() <= labels.items()]

    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert len(matches(spec["selector"]["matchLabels"])) == 1, document["metadata"]["name"]
        elif document["kind"] == "Service":
            assert len(matches(spec["selector"])) == 1
            names = {port["targetPort"] for port in spec["ports"]}
            assert names <= {"grpc", "metrics", "page"}
        elif document["kind"] == "NetworkPolicy":
            assert matches(spec["podSelector"]["matchLabels"])
        elif document["kind"] == "PodMonitor":
            assert len(matches(spec["selector"]["matchLabels"])) == len(templates) - 1
        elif document["kind"] == "ServiceMonitor":
            services = [d for d in documents if d["kind"] == "Service"]
            selected = [s for s in services if spec["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]
            ports = [port["name"] for service in selected for port in service["spec"]["ports"]]
            assert ports.count(spec["endpoints"][0]["port"]) == 1, "each pod scraped once"


def test_the_coordinator_is_called_by_a_name_in_its_certificate():
    documents = render({})
    certificate = find(documents, "Certificate", "r-qzo-server")
    service = find(documents, "Service", "r-qzo-coordinator")
    address = next(a for _, pod in pods(documents) for c in pod["containers"] for a in c["args"] if a.startswith("--server="))
    host, port = re.fullmatch(r"--server=(.+):(\d+)", address).groups()
    assert host in certificate["spec"]["dnsNames"] and host.split(".")[0] == service["metadata"]["name"]
    assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]
    secrets = {d["spec"]["secretName"]: d["spec"].get("uris", []) for d in documents if d["kind"] == "Certificate"}
    assert secrets["r-qzo-worker-tls"] == ["spiffe://r-qzo.ns/qzo/worker"]
    assert secrets["r-qzo-admin-tls"] == ["spiffe://r-qzo.ns/qzo/admin"]
    mounted = {v["secret"]["secretName"] for _, pod in pods(documents) for v in pod["volumes"] if "secret" in v}
    assert mounted <= secrets.keys()


def test_what_the_values_switch_on():
    default, everything = render({}), render(VALUES["everything"])
    assert "r-qzo-worker-gpu" not in [d["metadata"]["name"] for d in default]
    assert not {"ServiceMonitor", "PrometheusRule", "ScaledObject"} & {d["kind"] for d in default}
    cpu = find(everything, "Deployment", "r-qzo-worker-cpu")
    assert cpu["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert "replicas" not in cpu["spec"], "the autoscaler's"
    gpu = find(everything, "Deployment", "r-qzo-worker-gpu")["spec"]["template"]["spec"]["containers"][0]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1 and "--device=cuda" in gpu["args"]
    assert gpu["image"].partition(":")[0] == COMPOSE["services"]["qzo-worker-gpu"]["image"]
    query = find(everything, "ScaledObject", "r-qzo-worker-cpu")["spec"]["triggers"][0]["metadata"]["query"]
    assert "qzo_parallel_items" in query
    watched = find(everything, "ServiceMonitor", "r-qzo-coordinator")["spec"]["endpoints"][0]
    assert watched["authorization"] == {"credentials": {"name": "watcher", "key": "token"}}
    coordinator = find(everything, "StatefulSet", "r-qzo-coordinator")["spec"]
    assert coordinator["template"]["spec"]["containers"][0]["image"] == "qzo-coordinator:1.2.3"
    assert "Issuer" not in [d["kind"] for d in everything], "an issuer was given"
    mounts = [volume["name"] for volume in cpu["spec"]["template"]["spec"]["volumes"]]
    worker = cpu["spec"]["template"]["spec"]["containers"][0]
    certificate = find(everything, "Certificate", "r-qzo-worker")["spec"]
    assert f"--stage-tls-name={certificate['dnsNames'][0]}" in worker["args"] and "server auth" in certificate["usages"]
    stages = {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": "r", "qzo.dev/role": "worker"}}}
    policy = find(everything, "NetworkPolicy", "r-qzo-worker")["spec"]
    assert {"from": [stages], "ports": [{"port": "stages"}]} in policy["ingress"]
    assert {"to": [stages], "ports": [{"port": "stages"}]} in policy["egress"]
    assert not [a for _, pod in pods(default) for a in pod["containers"][0]["args"] if a.startswith("--stage")]
    assert "token" in mounts and "token" not in [v["name"] for _, pod in pods(default) for v in pod["volumes"]]


def test_rules_and_dashboards_are_the_files_of_this_repository():
    documents = render(VALUES["everything"])
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text().replace("docs/runbooks.md", "https://wiki.example/qzo"))
    assert find(documents, "PrometheusRule", "r-qzo")["spec"] == groups
    boards = find(documents, "ConfigMap", "r-qzo-dashboards")
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = {f"qzo-{path.name}": path.read_text() for path in (DEPLOY / "grafana").glob("*.json")}
    assert {name: text.strip() for name, text in boards["data"].items()} == {k: v.strip() for k, v in files.items()}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"coordinator": {"replicas": 3}}, "replicas"),
        ({"store": {"type": "postgres"}}, "store"),
        ({"tls": {"enabled": False}}, "insecure"),
        ({"insecure": True}, "insecure"),
        ({"coordnator": {}}, "coordnator"),
        ({"workers": {"cpu": {"replica": 3}}}, "replica"),
        ({"coordinator": {"storage": {"size": "lots"}}}, "size"),
        ({"coordinator": {"logLevel": "loud"}}, "logLevel"),
        ({"monitoring": {"secured": {"enabled": True}}}, "tokenSecret"),
        ({"monitoring": {"secured": {"enabled": True, "tokenSecret": "t"}}, "tls": {"enabled": False}, "insecure": True}, "secured"),
    ],
)
def test_wrong_values_are_refused_by_name(values, named):
    with pytest.raises(helm.HelmError) as error:
        render(values)
    assert named in str(error.value)


def test_an_autoscaler_needs_a_prometheus():
    with pytest.raises(helm.HelmError, match="workers.cpu.autoscaling.prometheus"):
        render({"workers": {"cpu": {"autoscaling": {"enabled": True}}}})


def test_names_fit(documents):
    for document in render({}, name="a-release-with-a-name-that-is-as-long-as-helm-allows"):
        assert len(document["metadata"]["name"]) <= 63
