"""Generates the stubs, which a clean clone does not hold and every command needs; everything else is in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup

subprocess.run([sys.executable, str(Path(__file__).parent / "scripts" / "gen")], check=True)
setup()
