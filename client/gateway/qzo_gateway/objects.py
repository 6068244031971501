"""OpenAI's objects out of QZO's messages, and the names that stand for them."""

from __future__ import annotations

from typing import Any

import qzo
from qzo import FineTuningJob

_STATUS = {
    FineTuningJob.QUEUED: "queued",
    FineTuningJob.RUNNING: "running",
    FineTuningJob.PAUSED: "paused",
    FineTuningJob.SUCCEEDED: "succeeded",
    FineTuningJob.FAILED: "failed",
    FineTuningJob.CANCELLED: "cancelled",
}
_FILE, _JOB = "file-", "ftjob-"
# Of jobs: what the server has no field for.
SUFFIX_LABEL, EPOCHS_LABEL = "openai-suffix", "openai-epochs"


def short(name: str) -> str:
    return name.rpartition("/")[2]


def file_id(dataset: str) -> str:
    return _FILE + short(dataset)


def dataset_of(file: str) -> str:
    return file.removeprefix(_FILE)


def job_id(job: str) -> str:
    return _JOB + short(job)


def job_of(id: str) -> str:
    return id.removeprefix(_JOB)


def tuned_model(base_model: str, project: str, suffix: str, adapter: str) -> str:
    """As OpenAI spells them: ft:{base model}:{organization}:{suffix}:{id}."""
    return f"ft:{short(base_model)}:{project}:{suffix}:{short(adapter)}"


def adapter_of(model: str) -> str | None:
    """The adapter of a tuned model; None for a base model."""
    return model.rpartition(":")[2] if model.startswith("ft:") else None


def _seconds(message: Any, field: str) -> int | None:
    return getattr(message, field).seconds if message.HasField(field) else None


def file(dataset: qzo.Dataset) -> dict[str, Any]:
    return {
        "id": file_id(dataset.name),
        "object": "file",
        "bytes": dataset.bytes,
        "created_at": dataset.create_time.seconds,
        "filename": dataset.display_name or short(dataset.name),
        "purpose": "fine-tune",
        "status": "processed",
    }


def model(id: str, of: qzo.Model | qzo.Adapter, project: str) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": of.create_time.seconds, "owned_by": project}


def job(job: FineTuningJob, project: str) -> dict[str, Any]:
    spec, method = job.spec, job.spec.method
    suffix = job.labels.get(SUFFIX_LABEL, "")
    epochs = job.labels.get(EPOCHS_LABEL, "")
    hyperparameters = {
        "n_epochs": int(epochs) if epochs.isdecimal() else "auto",
        "batch_size": method.batch_size,
        "learning_rate_multiplier": "auto",
    }
    error = None
    if job.HasField("error"):
        error = {"code": job.reason, "message": job.error.message, "param": None}
    estimated = None
    if job.state == FineTuningJob.RUNNING and job.progress.HasField("eta"):
        estimated = job.update_time.seconds + job.progress.eta.seconds
    return {
        "id": job_id(job.name),
        "object": "fine_tuning.job",
        "created_at": job.create_time.seconds,
        "finished_at": _seconds(job, "end_time"),
        "estimated_finish": estimated,
        "model": short(spec.base_model),
        "fine_tuned_model": tuned_model(spec.base_model, project, suffix, job.adapter) if job.adapter else None,
        "organization_id": project,
        "status": _STATUS[job.state],
        "training_file": file_id(spec.training_dataset),
        "validation_file": file_id(spec.validation_dataset) if spec.validation_dataset else None,
        "result_files": [],
        "trained_tokens": job.plan.training_tokens if job.state == FineTuningJob.SUCCEEDED else None,
        "seed": method.seed,
        "error": error,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "metadata": {key: value for key, value in job.labels.items() if key not in (SUFFIX_LABEL, EPOCHS_LABEL)},
        "integrations": [],
    }


def event(event: qzo.JobEvent, job: str) -> dict[str, Any]:
    data: dict[str, Any] | None = None
    message = event.message
    if event.HasField("step"):
        data = {"step": event.step.step, "train_loss": event.step.train_loss}
        message = message or f"Step {event.step.step}: training loss={event.step.train_loss:.4g}"
    elif event.HasField("evaluation"):
        data = {"step": event.evaluation.step, f"{event.evaluation.split}_loss": event.evaluation.loss}
        message = message or f"Step {event.evaluation.step}: {event.evaluation.split} loss={event.evaluation.loss:.4g}"
    elif event.HasField("state"):
        message = message or f"The job is {_STATUS[event.state]}"
    level = {1: "info", 2: "warn", 3: "error"}.get(event.level, "info")
    return {
        "id": f"ftevent-{short(job)}-{event.sequence}",
        "object": "fine_tuning.job.event",
        "created_at": event.time.seconds,
        "level": level,
        "message": message or event.type,
        "type": "message" if data is None else "metrics",
        "data": data,
    }


def checkpoint(evaluation: qzo.Evaluation, of: FineTuningJob, project: str) -> dict[str, Any]:
    metrics: dict[str, Any] = {"step": evaluation.step, "full_valid_loss": evaluation.loss}
    if evaluation.f1:
        metrics["full_valid_mean_token_accuracy"] = evaluation.accuracy
    tuned = tuned_model(of.spec.base_model, project, of.labels.get(SUFFIX_LABEL, ""), of.adapter or of.name)
    return {
        "id": f"ftckpt-{short(of.name)}-{evaluation.step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": of.update_time.seconds,
        "fine_tuned_model_checkpoint": f"{tuned}:ckpt-step-{evaluation.step}",
        "fine_tuning_job_id": job_id(of.name),
        "step_number": evaluation.step,
        "metrics": metrics,
    }
