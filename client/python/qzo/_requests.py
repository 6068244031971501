"""What the client and its asyncio twin have in common: names, requests and the rules of trying again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc

from qzo._proto.qzo.v1 import audit_pb2, common_pb2, dataset_pb2, inference_pb2, job_pb2, model_pb2
from qzo.job_file import task_of

CHUNK = 1 << 20  # the API's limit
ATTEMPTS = 4
MAX_BACKOFF = 5.0
STREAM_LIFE = 300.0  # a watch is renewed this often, so that a server that hangs is noticed
# What a broken connection can look like; a watch goes on after these.
TRANSPORT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
ENDED = {job_pb2.FineTuningJob.SUCCEEDED, job_pb2.FineTuningJob.FAILED, job_pb2.FineTuningJob.CANCELLED}

Messages = Sequence[Mapping[str, str]]


def backoff(failures: int) -> float:
    return min(0.2 * 2.0**failures, MAX_BACKOFF)


def chunks(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            yield data


def sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    for data in chunks(path):
        digest.update(data)
    return digest.hexdigest()


def full_name(project: str, collection: str, name: str) -> str:
    return name if "/" in name else f"projects/{project}/{collection}/{name}"


def dataset_header(project: str, path: str | Path, id: str, display_name: str) -> dataset_pb2.CreateDatasetRequest.Header:
    return dataset_pb2.CreateDatasetRequest.Header(
        parent=f"projects/{project}", dataset_id=id, display_name=display_name, request_id=str(uuid.uuid4()), digest=sha256(path)
    )


def model_header(project: str, files: Sequence[Path], id: str, display_name: str) -> model_pb2.CreateModelRequest.Header:
    """Of a model in one file, or in several that stand in the order of their names."""
    header = model_pb2.CreateModelRequest.Header(
        parent=f"projects/{project}", model_id=id, display_name=display_name, request_id=str(uuid.uuid4())
    )
    if len(files) == 1:
        header.digest = sha256(files[0])
    else:
        header.file_list = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    return header


def model_requests(
    header: model_pb2.CreateModelRequest.Header, files: Iterable[Path]
) -> Iterator[model_pb2.CreateModelRequest]:
    yield model_pb2.CreateModelRequest(header=header)
    for file in files:
        if header.file_list:
            yield model_pb2.CreateModelRequest(file=file.name)
        for data in chunks(file):
            yield model_pb2.CreateModelRequest(data=data)


def generate_request(
    project: str,
    prompt: str | Messages | Mapping[str, Any],
    *,
    adapter: str,
    model: str,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> inference_pb2.GenerateRequest:
    """A text is continued, a list of messages answered, a dict is a row for the adapter's task."""
    request = inference_pb2.GenerateRequest(parent=f"projects/{project}")
    _whose(request, project, adapter, model)
    if isinstance(prompt, str):
        request.prompt = prompt
    elif isinstance(prompt, Mapping):
        request.row = _row(prompt)
    else:
        request.conversation.messages.extend(
            inference_pb2.ChatMessage(role=message["role"], content=message["content"]) for message in prompt
        )
    options = request.sampling
    options.max_tokens, options.temperature, options.top_k, options.seed = max_tokens, temperature, top_k, seed
    options.top_p = top_p
    return request


def score_request(
    project: str, rows: Iterable[Mapping[str, Any]], *, adapter: str, model: str, task: Mapping[str, Any] | None
) -> inference_pb2.ScoreRequest:
    request = inference_pb2.ScoreRequest(parent=f"projects/{project}", rows=map(_row, rows))
    _whose(request, project, adapter, model)
    if task is not None:
        request.task.CopyFrom(task_of(task))
    return request


def audit_request(project: str, filters: Mapping[str, Any]) -> audit_pb2.ListAuditRecordsRequest:
    request = audit_pb2.ListAuditRecordsRequest(parent=f"projects/{project}")
    for field, value in filters.items():
        if isinstance(value, datetime):
            getattr(request, field).FromDatetime(value)
        else:
            setattr(request, field, value)
    return request


def _whose(request: Any, project: str, adapter: str, model: str) -> None:
    if adapter:
        request.adapter = full_name(project, "adapters", adapter)
    if model:
        request.model = full_name(project, "models", model)


def _row(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def metric(event: job_pb2.JobEvent) -> dict[str, Any] | None:
    """A row of figures out of a step's or an evaluation's event; None for other events."""
    if event.HasField("step"):
        s = event.step
        return {
            "step": s.step,
            "train_loss": s.train_loss,
            "learning_rate": s.learning_rate,
            "gradient_rms": s.gradient_rms,
            "seconds": s.seconds,
            "workers": s.workers,
        }
    if event.HasField("evaluation"):
        e: common_pb2.Evaluation = event.evaluation
        row: dict[str, Any] = {"step": e.step, f"{e.split}_loss": e.loss}
        if e.f1:
            row |= {f"{e.split}_accuracy": e.accuracy, f"{e.split}_macro_f1": e.macro_f1}
        return row
    return None


def merge_metrics(rows: Iterable[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """One row a step, ascending."""
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row is not None:
            by_step.setdefault(row["step"], {}).update(row)
    return [by_step[step] for step in sorted(by_step)]
