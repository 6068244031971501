"""systemd units, the compose file and the Dockerfile: checked by systemd and the compose schema, and against the programs."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cluster import BIN, DEPLOY, ROOT

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def run(*command: object) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def stage(name: str) -> str:
    """The Dockerfile's lines of a stage and of those that it is built on."""
    found = re.search(rf"^FROM (\S+) AS {name}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return stage(found.group(1)) + found.group(2) if found else ""


def test_systemd_accepts_the_units(tmp_path):
    units, programs, targets = (tmp_path / path for path in ("etc/systemd/system", "usr/local/bin", "usr/lib/systemd/system"))
    for directory in (units, programs, targets):
        directory.mkdir(parents=True)
    for target in Path("/usr/lib/systemd/system").glob("*.target"):
        shutil.copy(target, targets)
    for unit in UNITS:
        shutil.copy(unit, units)
        shutil.copy("/bin/true", programs / unit.stem)
    result = subprocess.run(
        ["systemd-analyze", "verify", f"--root={tmp_path}", *(unit.name for unit in UNITS)], capture_output=True, text=True
    )
    assert result.returncode == 0 and not result.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_hardened_and_name_what_there_is(unit, variables):
    run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", unit)  # of 100, none is 0
    text = unit.read_text()
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    assert parser["Service"]["ExecStart"] == f"/usr/local/bin/{unit.stem}" and (BIN / unit.stem).exists()
    assert set(re.findall(r"QZO_[A-Z_]+(?==)", text)) <= variables
    assert f"EnvironmentFile=-/etc/qzo/{unit.stem.removeprefix('qzo-')}.env" in text


def test_the_compose_file_follows_the_specification():
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_compose_services_start_as_the_programs_want(flags):
    mounted = {mount.split(":")[0] for service in COMPOSE["services"].values() for mount in service.get("volumes", [])}
    assert {source for source in mounted if not source.startswith(".")} == COMPOSE["volumes"].keys()
    for source in mounted:
        if source.startswith("."):
            assert (DEPLOY / source).is_dir()
    for name, program in (("qzo-server", "qzo-server"), ("qzo-worker", "qzo-worker"), ("qzo-worker-gpu", "qzo-worker")):
        service = COMPOSE["services"][name]
        target = service["build"]["target"]
        assert f'ENTRYPOINT ["{program}"]' in stage(target)
        arguments = dict(argument.partition("=")[::2] for argument in service["command"])
        assert arguments.keys() <= flags[program]
        metrics = arguments["--metrics-address"].rpartition(":")[2]
        assert metrics in re.search(r"^EXPOSE (.+)$", stage(target), re.MULTILINE).group(1).split()
        assert f"{name}" in (DEPLOY / "prometheus/prometheus.yml").read_text() and metrics in (
            DEPLOY / "prometheus/prometheus.yml"
        ).read_text()
        directory = re.search(r"^VOLUME (.+)$", stage(target), re.MULTILINE).group(1)
        assert [mount for mount in service["volumes"] if mount.endswith(":" + directory)], "what is kept is on a volume"
    for service in COMPOSE["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def closure(packages: set[str]) -> set[str]:
    """With everything that they depend on, as far as it is installed here."""
    known: set[str] = set()
    while new := packages - known:
        known |= new
        lists = subprocess.run(["dpkg-query", "-W", "-f", "${Depends},", *sorted(new)], capture_output=True, text=True).stdout
        packages = {re.split(r"[ (:]", entry.strip())[0] for entry in re.split(r"[,|]", lists) if entry.strip()}
    return known


@pytest.mark.parametrize(
    ("target", "programs"),
    [("coordinator", ["qzo-server", "qzoctl"]), ("worker-cpu", ["qzo-worker"]), ("worker-cuda", ["qzo-worker"])],
)
def test_images_hold_the_libraries_that_the_programs_link(target, programs):
    installed = closure(set(re.findall(r"\blib[a-z0-9.+-]+[0-9](?=[ \n])", stage(target))))
    linked = {Path(path).resolve() for program in programs for path in re.findall(r"=> (\S+) \(", run("ldd", BIN / program))}
    names = {f"{path.parent.name}/{path.name}" for path in linked}
    for files in Path("/var/lib/dpkg/info").glob("*.list"):
        held = names & {"/".join(line.split("/")[-2:]) for line in files.read_text().splitlines()}
        names -= held
        assert not held or files.stem.split(":")[0] in installed, held
    assert not names, "of no package"


def test_documents_name_what_there_is(flags, variables):
    text = (ROOT / "docs/deploy.md").read_text()
    commands = re.findall(r"^    (?:kubectl .* -- )?(qzo-server|qzo-worker) (--.*)$", text, re.MULTILINE)
    assert len(commands) >= 4
    for program, arguments in commands:
        assert set(re.findall(r"(?<!\S)--[a-z-]+", arguments)) <= flags[program]
    assert set(re.findall(r"QZO_[A-Z_]+", text)) <= variables
    for path in re.findall(r"\]\(([^)#:]+)[)#]", text):
        assert (ROOT / "docs" / path).exists(), path
