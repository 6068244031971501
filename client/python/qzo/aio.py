"""The client for asyncio: the same calls, to be awaited or iterated with `async for`."""

from __future__ import annotations

import asyncio
import copy
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from qzo import _requests, job_file
from qzo._dial import OPTIONS, channel_credentials
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
from qzo.errors import QzoError
from qzo.model_files import model_files

T = TypeVar("T")


class AsyncClient:
    """As Client; to be made and used within one event loop."""

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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        address = server or os.environ.get("QZO_SERVER", "127.0.0.1:7070")
        self._project = project or os.environ.get("QZO_PROJECT", "default")
        self._timeout = timeout
        self._transfer_timeout = transfer_timeout
        self._watch_patience = watch_patience
        self._sleep = sleep
        path = token_file or os.environ.get("QZO_TOKEN_FILE")
        if path:
            Path(path).read_bytes()  # now rather than in the first call
        self._secret: Callable[[], str] = lambda: Path(path).read_text().strip() if path else ""
        credentials = channel_credentials(address, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure)
        if credentials:
            self._channel = grpc.aio.secure_channel(address, credentials, OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(address, OPTIONS)
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._adapters = adapter_pb2_grpc.AdapterServiceStub(self._channel)
        self._workers = worker_pb2_grpc.WorkerServiceStub(self._channel)
        self._audits = audit_pb2_grpc.AuditServiceStub(self._channel)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)

    def acting_as(self, secret: str, project: str | None = None) -> AsyncClient:
        """The same connection for the holder of another token, as gateways need it. It is closed with this client."""
        other = copy.copy(self)
        other._secret = lambda: secret
        other._project = project or self._project
        return other

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.close()

    @property
    def project(self) -> str:
        return self._project

    # Jobs

    async def submit(
        self, job: Mapping[str, Any] | str | Path, *, request_id: str = "", validate_only: bool = False
    ) -> job_pb2.FineTuningJob:
        file = job_file.load(job, self._project)
        if file.model_path is not None:
            file.job.spec.base_model = (await self.upload_model(file.model_path)).name
        for field, path in file.dataset_paths.items():
            setattr(file.job.spec, field, (await self.upload_dataset(path)).name)
        return await self._read(
            self._jobs.CreateJob,
            job_pb2.CreateJobRequest(
                parent=self._parent,
                job_id=file.job_id,
                job=file.job,
                request_id=request_id or str(uuid.uuid4()),
                validate_only=validate_only,
            ),
        )

    async def get(self, job: str) -> job_pb2.FineTuningJob:
        return await self._read(self._jobs.GetJob, job_pb2.GetJobRequest(name=self._name("jobs", job)))

    def list(self) -> AsyncIterator[job_pb2.FineTuningJob]:
        return self._pages(self._jobs.ListJobs, job_pb2.ListJobsRequest(parent=self._parent), "jobs")

    async def watch(self, job: str, from_sequence: int = 1) -> AsyncIterator[job_pb2.JobEvent]:
        """Events, each once and in order, over as many connections as it takes, until the job has ended."""
        request = job_pb2.WatchJobRequest(name=self._name("jobs", job), from_sequence=max(from_sequence, 1))
        heard, failures = time.monotonic(), 0
        while True:
            stream = self._jobs.WatchJob(request, timeout=STREAM_LIFE, metadata=self._metadata())
            try:
                async for item in stream:
                    heard, failures = time.monotonic(), 0
                    if item.HasField("event") and item.event.sequence >= request.from_sequence:
                        request.from_sequence = item.event.sequence + 1
                        yield item.event
                if (await self.get(request.name)).state in ENDED:
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
            await self._sleep(backoff(failures))
            failures += 1

    async def wait(self, job: str, timeout: float | None = None) -> job_pb2.FineTuningJob:
        """Waits until the job has ended and returns it. Raises TimeoutError; the job then goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        delay = 0.1
        while (now := await self.get(job)).state not in ENDED:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{now.name} is {job_pb2.FineTuningJob.State.Name(now.state)} after {timeout} s")
            await self._sleep(delay)
            delay = min(delay * 2, 2.0)
        return now

    async def cancel(self, job: str) -> job_pb2.FineTuningJob:
        return await self._once(self._jobs.CancelJob, job_pb2.CancelJobRequest(name=self._name("jobs", job)))

    async def pause(self, job: str) -> job_pb2.FineTuningJob:
        return await self._once(self._jobs.PauseJob, job_pb2.PauseJobRequest(name=self._name("jobs", job)))

    async def resume(self, job: str) -> job_pb2.FineTuningJob:
        return await self._once(self._jobs.ResumeJob, job_pb2.ResumeJobRequest(name=self._name("jobs", job)))

    async def retry(self, job: str) -> job_pb2.FineTuningJob:
        return await self._once(self._jobs.RetryJob, job_pb2.RetryJobRequest(name=self._name("jobs", job)))

    async def delete(self, job: str, *, force: bool = False) -> None:
        await self._once(self._jobs.DeleteJob, job_pb2.DeleteJobRequest(name=self._name("jobs", job), force=force))

    def events(self, job: str) -> AsyncIterator[job_pb2.JobEvent]:
        return self._pages(self._jobs.ListJobEvents, job_pb2.ListJobEventsRequest(parent=self._name("jobs", job)), "events")

    async def evaluations(self, job: str) -> Sequence[common_pb2.Evaluation]:
        request = job_pb2.ListEvaluationsRequest(parent=self._name("jobs", job))
        return (await self._read(self._jobs.ListEvaluations, request)).evaluations

    async def metrics(self, job: str) -> Sequence[dict[str, Any]]:
        """One dict a step, as of Client.metrics."""
        return _requests.merge_metrics([_requests.metric(event) async for event in self.events(job)])

    # Serving

    async def stream(
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
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """As generate, but whole messages: texts, and in the last one how it ended and what it took."""
        request = _requests.generate_request(
            self._project, prompt, adapter=adapter, model=model, max_tokens=max_tokens, temperature=temperature,
            top_k=top_k, top_p=top_p, seed=seed,
        )  # fmt: skip
        call = self._inference.Generate(request, timeout=self._transfer_timeout, metadata=self._metadata())
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise QzoError.from_rpc(error) from error
        finally:
            call.cancel()

    async def generate(self, prompt: str | _requests.Messages | Mapping[str, Any], **options: Any) -> AsyncIterator[str]:
        """Pieces of text as a worker writes them; arguments as of Client.generate."""
        async for response in self.stream(prompt, **options):
            yield response.text

    async def score(
        self, rows: Sequence[Mapping[str, Any]], *, adapter: str = "", model: str = "", task: Mapping[str, Any] | None = None
    ) -> inference_pb2.ScoreResponse:
        request = _requests.score_request(self._project, rows, adapter=adapter, model=model, task=task)
        return await self._attempts(
            lambda: self._inference.Score(request, timeout=self._transfer_timeout, metadata=self._metadata())
        )

    # Files

    async def upload_dataset(self, path: str | Path, *, id: str = "", display_name: str = "") -> dataset_pb2.Dataset:
        header = _requests.dataset_header(self._project, path, id, display_name)

        def requests() -> Iterator[dataset_pb2.CreateDatasetRequest]:
            yield dataset_pb2.CreateDatasetRequest(header=header)
            for data in chunks(path):
                yield dataset_pb2.CreateDatasetRequest(data=data)

        return await self._attempts(
            lambda: self._datasets.CreateDataset(requests(), timeout=self._transfer_timeout, metadata=self._metadata())
        )

    async def get_dataset(self, name: str) -> dataset_pb2.Dataset:
        return await self._read(self._datasets.GetDataset, dataset_pb2.GetDatasetRequest(name=self._name("datasets", name)))

    async def delete_dataset(self, name: str) -> None:
        await self._once(self._datasets.DeleteDataset, dataset_pb2.DeleteDatasetRequest(name=self._name("datasets", name)))

    async def upload_model(self, path: str | Path, *, id: str = "", display_name: str = "") -> model_pb2.Model:
        """As Client.upload_model."""
        files = model_files(path)
        header = _requests.model_header(self._project, files, id, display_name)

        async def send(sent: Sequence[Path]) -> model_pb2.Model:
            return await self._attempts(
                lambda: self._models.CreateModel(
                    _requests.model_requests(header, sent), timeout=self._transfer_timeout, metadata=self._metadata()
                )
            )

        if len(files) > 1:
            find = model_pb2.FindMissingFilesRequest(parent=self._parent, file_list=header.file_list)
            missing = set((await self._read(self._models.FindMissingFiles, find)).files)
            return await send([file for file in files if file.name in missing])
        try:
            return await send([])
        except QzoError as error:
            if error.code != grpc.StatusCode.FAILED_PRECONDITION:  # what a server says that needs the data
                raise
        return await send(files)

    async def download_adapter(self, name: str, path: str | Path, *, step: int | None = None) -> Path:
        """Writes the adapter of a job, or with a full name an adapter's, as of Client.download_adapter."""
        request = adapter_pb2.DownloadAdapterRequest(name=self._name("jobs", name), step=step)

        async def read() -> bytes:
            call = self._adapters.DownloadAdapter(request, timeout=self._transfer_timeout, metadata=self._metadata())
            return b"".join([chunk.data async for chunk in call])

        data = await self._attempts(read)
        target = Path(path)
        partial = target.with_name(target.name + ".part")
        partial.write_bytes(data)
        partial.replace(target)
        return target

    async def get_adapter(self, name: str) -> adapter_pb2.Adapter:
        return await self._read(self._adapters.GetAdapter, adapter_pb2.GetAdapterRequest(name=self._name("adapters", name)))

    def adapters(self) -> AsyncIterator[adapter_pb2.Adapter]:
        return self._pages(self._adapters.ListAdapters, adapter_pb2.ListAdaptersRequest(parent=self._parent), "adapters")

    def models(self) -> AsyncIterator[model_pb2.Model]:
        return self._pages(self._models.ListModels, model_pb2.ListModelsRequest(parent=self._parent), "models")

    def datasets(self) -> AsyncIterator[dataset_pb2.Dataset]:
        return self._pages(self._datasets.ListDatasets, dataset_pb2.ListDatasetsRequest(parent=self._parent), "datasets")

    def workers(self) -> AsyncIterator[worker_pb2.Worker]:
        return self._pages(self._workers.ListWorkers, worker_pb2.ListWorkersRequest(), "workers")

    def audit(self, **filters: Any) -> AsyncIterator[audit_pb2.AuditRecord]:
        """As Client.audit."""
        return self._pages(self._audits.ListAuditRecords, _requests.audit_request(self._project, filters), "records")

    @property
    def _parent(self) -> str:
        return f"projects/{self._project}"

    def _name(self, collection: str, name: str) -> str:
        return _requests.full_name(self._project, collection, name)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        secret = self._secret()
        return (("authorization", f"Bearer {secret}"),) if secret else ()

    async def _attempts(self, call: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return await call()
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or attempt + 1 == ATTEMPTS:
                    raise QzoError.from_rpc(error) from error
            await self._sleep(backoff(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _read(self, method: Callable[..., Awaitable[T]], request: Any) -> T:
        return await self._attempts(lambda: method(request, timeout=self._timeout, metadata=self._metadata()))

    async def _once(self, method: Callable[..., Awaitable[T]], request: Any) -> T:
        try:
            return await method(request, timeout=self._timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            raise QzoError.from_rpc(error) from error

    async def _pages(self, method: Callable[..., Awaitable[Any]], request: Any, field: str) -> AsyncIterator[Any]:
        request.page_size = 1000
        while True:
            response = await self._read(method, request)
            for resource in getattr(response, field):
                yield resource
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token
