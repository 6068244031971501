"""A cluster to drive, and what the programs say of their flags."""

from __future__ import annotations

import re
import subprocess

import pytest
from cluster import BIN, Cluster


@pytest.fixture
def cluster(tmp_path):
    running = Cluster(tmp_path)
    yield running
    running.close()


@pytest.fixture(scope="session")
def flags() -> dict[str, set[str]]:
    """Long flags by program, out of --help."""
    found = {}
    for program in ("qzo-server", "qzo-worker", "qzoctl"):
        text = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, check=True).stdout
        found[program] = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    return found


@pytest.fixture(scope="session")
def variables() -> set[str]:
    """QZO_* environment variables that any program reads."""
    found = set()
    for program in ("qzo-server", "qzo-worker", "qzoctl"):
        text = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"QZO_[A-Z_]+", text))
    return found
