"""How far a job is, for people who wait for it: a bar on a terminal, a line that changes in a notebook."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

from qzo._proto.qzo.v1 import job_pb2

_WIDTH = 24


def line(job: job_pb2.FineTuningJob) -> str:
    progress = job.progress
    done = progress.step * _WIDTH // progress.total_steps if progress.total_steps else 0
    parts = [f"{job.name.rpartition('/')[2]} [{'=' * done:{_WIDTH}}] {progress.step}/{progress.total_steps}"]
    if progress.step:
        parts.append(f"loss {progress.train_loss:.4g}")
    if progress.last_validation.rows:
        parts.append(f"validation {progress.last_validation.loss:.4g}")
    if job.state == job_pb2.FineTuningJob.RUNNING:
        if progress.HasField("eta"):
            parts.append(f"{progress.eta.seconds} s left")
    else:
        parts.append(" ".join(filter(None, (job_pb2.FineTuningJob.State.Name(job.state), job.message))))
    return "  ".join(parts)


class ProgressBar:
    """Writes to `stream` (standard error) when it is a terminal, and to a notebook's cell; nowhere otherwise."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream or sys.stderr
        self._cell = _notebook_cell()
        self._shown_at = float("-inf")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._cell is None and self._stream.isatty():
            self._stream.write("\n")

    def show(self, job: job_pb2.FineTuningJob, at_most_every: float = 0.0) -> None:
        now = time.monotonic()
        if now - self._shown_at < at_most_every:
            return
        self._shown_at = now
        if self._cell is not None:
            self._cell.update({"text/plain": line(job)}, raw=True)
        elif self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line(job)}")
            self._stream.flush()


def _notebook_cell() -> Any:
    if "ipykernel" not in sys.modules:
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
