"""Job descriptions: the keys of qzoctl's job files, as a dict or in YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from qzo._proto.qzo.v1 import common_pb2, job_pb2
from qzo.errors import JobFileError

_SECTIONS = ("task", "method", "evaluation", "placement")
_KEYS = ("base_model", "datasets", *_SECTIONS, "name", "display_name", "labels")
_SPLITS = {"train": "training_dataset", "validation": "validation_dataset", "test": "test_dataset"}


@dataclass
class JobFile:
    job: job_pb2.FineTuningJob
    job_id: str = ""
    model_path: Path | None = None  # to upload; base_model is a name otherwise
    dataset_paths: dict[str, Path] = field(default_factory=dict)  # spec field → file to upload


def load(job: Mapping[str, Any] | str | Path, project: str) -> JobFile:
    """Reads a dict, or a YAML file whose relative paths start at its directory. Raises JobFileError with every problem."""
    if isinstance(job, Mapping):
        return _Builder(Path(), project).build(job)
    path = Path(job)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise JobFileError([f"{path}: {error}"]) from error
    if not isinstance(content, Mapping):
        raise JobFileError([f"{path}: expected a map"])
    return _Builder(path.parent, project).build(content)


def task_of(task: Mapping[str, Any]) -> common_pb2.Task:
    """A task as under a job file's key of that name. Raises JobFileError with every problem."""
    builder, message = _Builder(Path(), ""), common_pb2.Task()
    builder._message("task", task, message)
    if builder._problems:
        raise JobFileError(builder._problems)
    return message


def _unknown(path: str, key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"{path}{key}: unknown key" + (f" (did you mean '{near[0]}'?)" if near else "")


def _spelled(name: Any) -> Any:
    return name.upper().replace("-", "_") if isinstance(name, str) else name


class _Builder:
    def __init__(self, directory: Path, project: str):
        self._directory = directory
        self._project = project
        self._problems: list[str] = []
        self._file = JobFile(job_pb2.FineTuningJob())

    def build(self, content: Mapping[str, Any]) -> JobFile:
        self._problems += [_unknown("", key, _KEYS) for key in content if key not in _KEYS]
        self._problems += [f"{key}: missing" for key in ("base_model", "datasets", "task") if key not in content]
        spec = self._file.job.spec
        for section in _SECTIONS:
            if section in content:
                self._message(section, content[section], getattr(spec, section))
        self._base_model(str(content.get("base_model", "")))
        self._datasets(content.get("datasets", []))
        self._file.job_id = str(content.get("name", ""))
        self._file.job.display_name = str(content.get("display_name", ""))
        for key, value in (content.get("labels") or {}).items():
            self._file.job.labels[str(key)] = str(value)
        if self._problems:
            raise JobFileError(self._problems)
        return self._file

    def _message(self, path: str, content: Any, message: Message) -> None:
        if not isinstance(content, Mapping):
            self._problems.append(f"{path}: expected a map")
            return
        fields = message.DESCRIPTOR.fields_by_name
        for key, value in content.items():
            if key not in fields:
                self._problems.append(_unknown(f"{path}.", key, fields))
                continue
            if fields[key].type == FieldDescriptor.TYPE_ENUM:
                if value == []:  # the message could not tell it from a list that was left out
                    self._problems.append(f"{path}.{key}: an empty list, expected a name in it")
                value = [_spelled(each) for each in value] if isinstance(value, list) else _spelled(value)
            try:
                json_format.ParseDict({key: value}, message)
            except json_format.ParseError as error:
                self._problems.append(f"{path}.{key}: {error}")

    def _base_model(self, model: str) -> None:
        if not model.startswith("projects/") and ("/" in model or model.endswith(".gguf")):
            self._file.model_path = self._directory / model
        else:
            self._file.job.spec.base_model = self._name("models", model)

    def _datasets(self, datasets: Any) -> None:
        if not isinstance(datasets, list):
            self._problems.append("datasets: expected a list")
            return
        seen: set[str] = set()
        for i, entry in enumerate(datasets):
            path = f"datasets.{i}"
            if not isinstance(entry, Mapping):
                self._problems.append(f"{path}: expected a map")
                continue
            self._problems += [_unknown(f"{path}.", key, ("path", "name", "split")) for key in entry if key not in ("path", "name", "split")]
            split = str(entry.get("split", "train"))
            if split not in _SPLITS:
                self._problems.append(f"{path}.split: found '{split}', expected train, validation or test")
            elif split in seen:
                self._problems.append(f"{path}.split: a second dataset for {split}")
            elif ("path" in entry) == ("name" in entry):
                self._problems.append(f"{path}: expected either a path or a name")
            elif "path" in entry:
                self._file.dataset_paths[_SPLITS[split]] = self._directory / str(entry["path"])
            else:
                setattr(self._file.job.spec, _SPLITS[split], self._name("datasets", str(entry["name"])))
            seen.add(split)
        if datasets and "train" not in seen:
            self._problems.append("datasets: no entry has split: train")

    def _name(self, collection: str, name: str) -> str:
        return name if name.startswith("projects/") else f"projects/{self._project}/{collection}/{name}"
