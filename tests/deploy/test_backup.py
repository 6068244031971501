"""A backup of a server at work is a server that goes on from there."""

from __future__ import annotations

import signal
import subprocess

from cluster import BIN, eventually


def test_a_restored_job_ends_in_the_same_journal(cluster):
    cluster.start_worker("w1")
    cluster.submit("job", 60)
    eventually(lambda: cluster.step("job") >= 5)
    backup = cluster.directory / "backup"
    subprocess.run([BIN / "qzo-server", "--data-dir", cluster.directory / "data", "--backup", backup], check=True)
    at_least = cluster.step("job")
    cluster.ctl("wait", "job", "--for=state=succeeded", "--timeout", "100s")
    cluster.ctl("download", "journal", "job", "-f", cluster.directory / "original")
    cluster.server.signal(signal.SIGKILL)
    cluster.workers.pop("w1").kill()

    cluster.start_server("backup")
    assert 5 <= cluster.step("job") <= at_least
    cluster.start_worker("w2")
    cluster.ctl("wait", "job", "--for=state=succeeded", "--timeout", "100s")
    cluster.ctl("download", "journal", "job", "-f", cluster.directory / "restored")
    assert (cluster.directory / "restored").read_bytes() == (cluster.directory / "original").read_bytes()


def test_a_second_backup_needs_a_new_directory(cluster):
    command = [BIN / "qzo-server", "--data-dir", cluster.directory / "data", "--backup", cluster.directory / "backup"]
    assert subprocess.run(command).returncode == 0
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1 and "backup/qzo.db exists" in again.stderr
