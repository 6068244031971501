"""The client: typed calls with deadlines, retries where they are safe, and streams that resume."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc

from qzo import job_file
from qzo._dial import dial
from qzo._proto.qzo.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from qzo.errors import QzoError

_CHUNK = 1 << 20  # the API's limit
_ATTEMPTS = 4
_MAX_BACKOFF = 5.0
_STREAM_LIFE = 300.0  # a watch is renewed this often, so that a server that hangs is noticed
# What a broken connection can look like; a watch goes on after these.
_TRANSPORT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
_ENDED = {job_pb2.FineTuningJob.SUCCEEDED, job_pb2.FineTuningJob.FAILED, job_pb2.FineTuningJob.CANCELLED}

T = TypeVar("T")


class Client:
    """Thread-safe. Short names ("my-job") are of `project`; full ones ("projects/x/jobs/my-job") stay as they are.

    Calls raise QzoError. Only UNAVAILABLE is tried again, and only where a repetition cannot do harm.
    """

    def __init__(
        self,
        server: str | None = None,
        project: str | None = None,
        *,
        timeout: float = 10.0,
        transfer_timeout: float = 600.0,
        watch_patience: float = 300.0,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        token_file: str | None = None,
        insecure: bool | None = None,
        channel: grpc.Channel | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """`server` defaults to $QZO_SERVER or 127.0.0.1:7070, `project` to $QZO_PROJECT or default; times are in seconds.

        `watch_patience` is how long a watch goes on trying without hearing anything.

        TLS is used beyond this machine unless `insecure` ($QZO_INSECURE), and with any of `tls_ca` (authorities; the
        system's otherwise), `tls_cert` and `tls_key` ($QZO_TLS_CA and so on: paths of PEM files). `token_file`
        ($QZO_TOKEN_FILE) holds a token's secret; it is read again for every call.
        """
        address = server or os.environ.get("QZO_SERVER", "127.0.0.1:7070")
        self._project = project or os.environ.get("QZO_PROJECT", "default")
        self._timeout = timeout
        self._transfer_timeout = transfer_timeout
        self._watch_patience = watch_patience
        self._sleep = sleep
        self._channel = channel or dial(
            address, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file, insecure=insecure
        )
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._adapters = adapter_pb2_grpc.AdapterServiceStub(self._channel)
        self._workers = worker_pb2_grpc.WorkerServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # Jobs

    def submit(
        self, job: Mapping[str, Any] | str | Path, *, request_id: str = "", validate_only: bool = False
    ) -> job_pb2.FineTuningJob:
        """Submits a job file (a path) or a dict with the same keys; what it names by path is uploaded first.

        The same `request_id` gives the same job. With `validate_only` nothing is queued: the answer is the job as it would be.
        """
        file = job_file.load(job, self._project)
        if file.model_path is not None:
            file.job.spec.base_model = self.upload_model(file.model_path).name
        for field, path in file.dataset_paths.items():
            setattr(file.job.spec, field, self.upload_dataset(path).name)
        request = job_pb2.CreateJobRequest(
            parent=self._parent,
            job_id=file.job_id,
            job=file.job,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return self._read(self._jobs.CreateJob, request)

    def get(self, job: str) -> job_pb2.FineTuningJob:
        return self._read(self._jobs.GetJob, job_pb2.GetJobRequest(name=self._name("jobs", job)))

    def list(self) -> Iterator[job_pb2.FineTuningJob]:
        """Every job of the project, newest first."""
        return self._pages(self._jobs.ListJobs, job_pb2.ListJobsRequest(parent=self._parent), "jobs")

    def watch(self, job: str, from_sequence: int = 1) -> Iterator[job_pb2.JobEvent]:
        """Events from a sequence number on, each once and in order, over as many connections as it takes, until the job has ended.

        Leaving the loop never touches the job.
        """
        request = job_pb2.WatchJobRequest(name=self._name("jobs", job), from_sequence=max(from_sequence, 1))
        heard, failures = time.monotonic(), 0
        while True:
            stream = self._jobs.WatchJob(request, timeout=_STREAM_LIFE)
            try:
                for item in stream:
                    heard, failures = time.monotonic(), 0
                    if item.HasField("event") and item.event.sequence >= request.from_sequence:
                        request.from_sequence = item.event.sequence + 1
                        yield item.event
                if self.get(request.name).state in _ENDED:
                    return
            except grpc.RpcError as error:
                failure = QzoError.from_rpc(error)
                if failure.code not in _TRANSPORT or time.monotonic() - heard > self._watch_patience:
                    raise failure from error
            except QzoError as error:  # of get
                if error.code not in _TRANSPORT or time.monotonic() - heard > self._watch_patience:
                    raise
            finally:
                stream.cancel()
            self._sleep(_backoff(failures))
            failures += 1

    def wait(self, job: str, timeout: float | None = None) -> job_pb2.FineTuningJob:
        """Waits until the job has ended and returns it. Raises TimeoutError; the job then goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        delay = 0.1
        while (now := self.get(job)).state not in _ENDED:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{now.name} is {job_pb2.FineTuningJob.State.Name(now.state)} after {timeout} s")
            self._sleep(delay)
            delay = min(delay * 2, 2.0)
        return now

    def cancel(self, job: str) -> job_pb2.FineTuningJob:
        return self._once(self._jobs.CancelJob, job_pb2.CancelJobRequest(name=self._name("jobs", job)))

    def pause(self, job: str) -> job_pb2.FineTuningJob:
        return self._once(self._jobs.PauseJob, job_pb2.PauseJobRequest(name=self._name("jobs", job)))

    def resume(self, job: str) -> job_pb2.FineTuningJob:
        return self._once(self._jobs.ResumeJob, job_pb2.ResumeJobRequest(name=self._name("jobs", job)))

    def retry(self, job: str) -> job_pb2.FineTuningJob:
        return self._once(self._jobs.RetryJob, job_pb2.RetryJobRequest(name=self._name("jobs", job)))

    def delete(self, job: str, *, force: bool = False) -> None:
        self._once(self._jobs.DeleteJob, job_pb2.DeleteJobRequest(name=self._name("jobs", job), force=force))

    def events(self, job: str) -> Iterator[job_pb2.JobEvent]:
        """The events stored so far."""
        return self._pages(self._jobs.ListJobEvents, job_pb2.ListJobEventsRequest(parent=self._name("jobs", job)), "events")

    def evaluations(self, job: str) -> Sequence[common_pb2.Evaluation]:
        request = job_pb2.ListEvaluationsRequest(parent=self._name("jobs", job))
        return self._read(self._jobs.ListEvaluations, request).evaluations

    # Files

    def upload_dataset(self, path: str | Path, *, id: str = "", display_name: str = "") -> dataset_pb2.Dataset:
        header = dataset_pb2.CreateDatasetRequest.Header(
            parent=self._parent,
            dataset_id=id,
            display_name=display_name,
            request_id=str(uuid.uuid4()),
            digest=_sha256(path),
        )

        def requests() -> Iterator[dataset_pb2.CreateDatasetRequest]:
            yield dataset_pb2.CreateDatasetRequest(header=header)
            for data in _chunks(path):
                yield dataset_pb2.CreateDatasetRequest(data=data)

        return self._attempts(lambda: self._datasets.CreateDataset(requests(), timeout=self._transfer_timeout))

    def upload_model(self, path: str | Path, *, id: str = "", display_name: str = "") -> model_pb2.Model:
        """Sends the digest first, and the file only when the server does not hold it."""
        header = model_pb2.CreateModelRequest.Header(
            parent=self._parent,
            model_id=id,
            display_name=display_name,
            request_id=str(uuid.uuid4()),
            digest=_sha256(path),
        )

        def requests(with_data: bool) -> Iterator[model_pb2.CreateModelRequest]:
            yield model_pb2.CreateModelRequest(header=header)
            for data in _chunks(path) if with_data else ():
                yield model_pb2.CreateModelRequest(data=data)

        def send(with_data: bool) -> model_pb2.Model:
            return self._attempts(lambda: self._models.CreateModel(requests(with_data), timeout=self._transfer_timeout))

        try:
            return send(with_data=False)
        except QzoError as error:
            if error.code != grpc.StatusCode.FAILED_PRECONDITION:  # what a server says that needs the data
                raise
        return send(with_data=True)

    def download_adapter(self, name: str, path: str | Path, *, step: int | None = None) -> Path:
        """Writes an adapter file: of an adapter, or of a job (the best validated step, or `step`). It appears whole or not at all."""
        if "/" in name:
            names = [name]
        else:  # only a job has steps to choose from
            names = [self._name("jobs", name)] if step is not None else [self._name("adapters", name), self._name("jobs", name)]
        for full_name in names:
            request = adapter_pb2.DownloadAdapterRequest(name=full_name, step=step)
            try:
                data = self._attempts(
                    lambda: b"".join(c.data for c in self._adapters.DownloadAdapter(request, timeout=self._transfer_timeout))
                )
                break
            except QzoError as error:
                if error.code != grpc.StatusCode.NOT_FOUND or full_name == names[-1]:
                    raise
        target = Path(path)
        partial = target.with_name(target.name + ".part")
        partial.write_bytes(data)
        partial.replace(target)
        return target

    def get_adapter(self, name: str) -> adapter_pb2.Adapter:
        return self._read(self._adapters.GetAdapter, adapter_pb2.GetAdapterRequest(name=self._name("adapters", name)))

    def models(self) -> Iterator[model_pb2.Model]:
        return self._pages(self._models.ListModels, model_pb2.ListModelsRequest(parent=self._parent), "models")

    def datasets(self) -> Iterator[dataset_pb2.Dataset]:
        return self._pages(self._datasets.ListDatasets, dataset_pb2.ListDatasetsRequest(parent=self._parent), "datasets")

    def workers(self) -> Iterator[worker_pb2.Worker]:
        return self._pages(self._workers.ListWorkers, worker_pb2.ListWorkersRequest(), "workers")

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}"

    def _name(self, collection: str, name: str) -> str:
        return name if "/" in name else f"{self._parent}/{collection}/{name}"

    def _attempts(self, call: Callable[[], T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or attempt + 1 == _ATTEMPTS:
                    raise QzoError.from_rpc(error) from error
            self._sleep(_backoff(attempt))
        raise AssertionError("the last attempt returns or raises")

    def _read(self, method: Callable[..., T], request: Any) -> T:
        return self._attempts(lambda: method(request, timeout=self._timeout))

    def _once(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise QzoError.from_rpc(error) from error

    def _pages(self, method: Callable[..., Any], request: Any, field: str) -> Iterator[Any]:
        request.page_size = 1000
        while True:
            response = self._read(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token


def _backoff(failures: int) -> float:
    return min(0.2 * 2**failures, _MAX_BACKOFF)


def _chunks(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            yield data


def _sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    for data in _chunks(path):
        digest.update(data)
    return digest.hexdigest()
