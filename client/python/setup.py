"""Generates the stubs before a build; everything else is in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class Build(build_py):
    def run(self) -> None:
        subprocess.run([sys.executable, str(Path(__file__).parent / "scripts" / "gen")], check=True)
        super().run()


setup(cmdclass={"build_py": Build})
