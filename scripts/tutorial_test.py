#!/usr/bin/env python3
"""scripts/tutorial_test.py: follows docs/tutorial.md word for word, as a new user would: in a fresh clone of HEAD, with empty caches, its
commands one after the other in one shell. Only the ports are its own. What the text promises beside its commands is tried, too.
Fetches the tutorial's model from PyPI."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREAMBLE = r"""
set -euo pipefail -m  # a shell that people type in knows jobs
trap 'kill %1 2>/dev/null || true' EXIT
until_rows() {  # a person looks again while there is nothing to see
  for _ in $(seq 150); do
    if out=$("$@" 2>&1) && [ "$(wc -l <<<"$out")" -gt 1 ]; then echo "$out"; return; fi
    sleep 0.2
  done
  echo "$out"; return 1
}
"""
# Beginning of a command → what is run in its place; {} is the command.
BESIDE = {
    "qzoctl get ": "until_rows {}",
    # "A typing error would show here, with its line."
    "qzoctl plan ": """{}
code=0; said=$({} --set method.stepz=10 2>&1) || code=$?
[ $code -eq 2 ] && grep -q "stepz: unknown key" <<<"$said" || { echo "a typing error, $code: $said"; exit 1; }""",
    # "In a browser … has the loss curve."
    "qzoctl submit ": """{}
page=$(curl --silent --fail "http://$QZO_PAGE_ADDRESS/projects/default/jobs/sms-spam")
grep -q "<svg" <<<"$page" || { echo "no curve: $page"; exit 1; }""",
    "kill %1": "trap - EXIT; kill %1; wait %1",
}


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def commands(tutorial: str) -> list[str]:
    """What is indented."""
    return re.findall(r"^    (.+)$", tutorial, re.MULTILINE)


def script(tutorial: str) -> str:
    unused = set(BESIDE)
    lines = [PREAMBLE]
    for command in commands(tutorial):
        lines.append(f"printf '\\n%5d s $ %s\\n' \"$SECONDS\" {shlex.quote(command)}")
        beginning = next((one for one in BESIDE if command.startswith(one)), None)
        unused.discard(beginning)
        lines.append(BESIDE[beginning].replace("{}", command) if beginning else command)
    if unused:
        raise SystemExit(f"tutorial_test.py: the tutorial has no command that begins with {sorted(unused)}")
    return "\n".join([*lines, 'echo; echo "the tutorial took $SECONDS s"'])


def main() -> int:
    with tempfile.TemporaryDirectory() as work:
        clone = Path(work, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        server = free_address()
        environment = os.environ | {
            "QZO_SERVER": server,
            "QZO_LISTEN": server,
            "QZO_PAGE_ADDRESS": free_address(),
            "QZO_METRICS_ADDRESS": free_address(),
            "XDG_CACHE_HOME": f"{work}/cache",
            "XDG_CONFIG_HOME": f"{work}/config",
            # Compiling takes long enough the first time.
            "CCACHE_DIR": subprocess.run(["ccache", "--get-config", "cache_dir"], check=True, capture_output=True, text=True).stdout.strip(),
        }
        text = script((clone / "docs/tutorial.md").read_text())
        done = subprocess.run(["bash", "-c", text, "tutorial"], cwd=clone, env=environment)
        if done.returncode == 0 and not (clone / ".cache/sms-spam.gguf").stat().st_size:
            raise SystemExit("tutorial_test.py: the exported model is empty")
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
