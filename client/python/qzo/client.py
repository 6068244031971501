"""The client: typed calls with deadlines, retries where they are safe, and streams that resume."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc

from qzo import _requests, job_file
from qzo._dial import dial
from qzo._proto.qzo.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from qzo._requests import ATTEMPTS, ENDED, STREAM_LIFE, TRANSPORT, backoff, chunks
from qzo.curve import LossCurve
from qzo.display import ProgressBar
from qzo.errors import QzoError
from qzo.model_files import model_files

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
        self._audits = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)

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
            stream = self._jobs.WatchJob(request, timeout=STREAM_LIFE)
            try:
                for item in stream:
                    heard, failures = time.monotonic(), 0
                    if item.HasField("event") and item.event.sequence >= request.from_sequence:
                        request.from_sequence = item.event.sequence + 1
                        yield item.event
                if self.get(request.name).state in ENDED:
                    return
            except grpc.RpcError as error:
                failure = QzoError.from_rpc(error)
                if failure.code not in TRANSPORT or time.monotonic() - heard > self._watch_patience:
                    raise failure from error
            except QzoError as error:  # of get
                if error.code not in TRANSPORT or time.monotonic() - heard > self._watch_patience:
                    raise
            finally:
                stream.cancel()
            self._sleep(backoff(failures))
            failures += 1

    def wait(self, job: str, timeout: float | None = None) -> job_pb2.FineTuningJob:
        """Waits until the job has ended and returns it. Raises TimeoutError; the job then goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        delay = 0.1
        while (now := self.get(job)).state not in ENDED:
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

    def follow(self, job: str, *, bar: ProgressBar | None = None) -> job_pb2.FineTuningJob:
        """Waits for the end of a job and shows how far it is: a bar on a terminal's standard error, or in a notebook."""
        with bar or ProgressBar() as shown:
            shown.show(self.get(job))
            for event in self.watch(job):
                if event.HasField("step") or event.HasField("state"):
                    shown.show(self.get(job), at_most_every=0.5)
            done = self.get(job)
            shown.show(done)
        return done

    def metrics(self, job: str) -> Sequence[dict[str, Any]]:
        """One dict a step: train_loss, learning_rate, seconds, …, validation_loss where there was one. pandas.DataFrame takes it."""
        return _requests.merge_metrics(_requests.metric(event) for event in self.events(job))

    def curve(self, job: str) -> LossCurve:
        """What a notebook shows as a picture of the losses."""
        return LossCurve(self.metrics(job), title=job.rpartition("/")[2])

    # Serving

    def generate(
        self,
        prompt: str | _requests.Messages | Mapping[str, Any],
        *,
        adapter: str = "",
        model: str = "",
        max_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Pieces of text as a worker writes them, by a base model or with an adapter.

        A text is continued, a list of {"role", "content"} answered; a dict is a row for the adapter's task.
        """
        request = _requests.generate_request(
            self._project, prompt, adapter=adapter, model=model, max_tokens=max_tokens, temperature=temperature,
            top_k=top_k, top_p=top_p, seed=seed,
        )  # fmt: skip
        stream = self._inference.Generate(request, timeout=self._transfer_timeout)
        try:
            for response in stream:
                yield response.text
        except grpc.RpcError as error:
            raise QzoError.from_rpc(error) from error
        finally:
            stream.cancel()

    def score(
        self, rows: Sequence[Mapping[str, Any]], *, adapter: str = "", model: str = "", task: Mapping[str, Any] | None = None
    ) -> inference_pb2.ScoreResponse:
        """How likely each option of a classification is for each row; the task is the adapter's unless it is given."""
        request = _requests.score_request(self._project, rows, adapter=adapter, model=model, task=task)
        return self._attempts(lambda: self._inference.Score(request, timeout=self._transfer_timeout))

    # Files

    def upload_dataset(self, path: str | Path, *, id: str = "", display_name: str = "") -> dataset_pb2.Dataset:
        header = _requests.dataset_header(self._project, path, id, display_name)

        def requests() -> Iterator[dataset_pb2.CreateDatasetRequest]:
            yield dataset_pb2.CreateDatasetRequest(header=header)
            for data in chunks(path):
                yield dataset_pb2.CreateDatasetRequest(data=data)

        return self._attempts(lambda: self._datasets.CreateDataset(requests(), timeout=self._transfer_timeout))

    def upload_model(self, path: str | Path, *, id: str = "", display_name: str = "") -> model_pb2.Model:
        """A GGUF file, the first part of a split one, or a checkpoint directory. Sends only what the server does not hold."""
        files = model_files(path)
        header = _requests.model_header(self._project, files, id, display_name)

        def send(sent: Sequence[Path]) -> model_pb2.Model:
            return self._attempts(
                lambda: self._models.CreateModel(_requests.model_requests(header, sent), timeout=self._transfer_timeout)
            )

        if len(files) > 1:
            find = model_pb2.FindMissingFilesRequest(parent=self._parent, file_list=header.file_list)
            missing = set(self._read(self._models.FindMissingFiles, find).files)
            return send([file for file in files if file.name in missing])
        try:
            return send([])
        except QzoError as error:
            if error.code != grpc.StatusCode.FAILED_PRECONDITION:  # what a server says that needs the data
                raise
        return send(files)

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

    def audit(self, **filters: Any) -> Iterator[audit_pb2.AuditRecord]:
        """Calls that changed something or tried to, the newest first. Filters are the fields of ListAuditRecordsRequest: caller,
        method, resource, code, start_time, end_time (datetimes with a zone); parent="projects/-" for every project's."""
        return self._pages(self._audits.ListAuditRecords, _requests.audit_request(self._project, filters), "records")

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}"

    def _name(self, collection: str, name: str) -> str:
        return _requests.full_name(self._project, collection, name)

    def _attempts(self, call: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or attempt + 1 == ATTEMPTS:
                    raise QzoError.from_rpc(error) from error
            self._sleep(backoff(attempt))
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

