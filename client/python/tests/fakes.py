"""A server of the API in memory, on a port of this machine."""

from __future__ import annotations

import hashlib
from concurrent import futures

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from qzo._proto.qzo.v1 import (
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
)


class Jobs(job_pb2_grpc.JobServiceServicer):
    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.FineTuningJob] = {}
        self.events = 0
        self.break_after: int | None = None
        self.watches = 0
        self.failures = 0
        self.calls = 0
        self.last_create = job_pb2.CreateJobRequest()
        self.authorization = ""

    def CreateJob(self, request: job_pb2.CreateJobRequest, context: grpc.ServicerContext) -> job_pb2.FineTuningJob:
        self._fail(context)
        self.last_create = request
        job = job_pb2.FineTuningJob()
        job.CopyFrom(request.job)
        job.name = f"{request.parent}/jobs/{request.job_id or 'made'}"
        return job

    def GetJob(self, request: job_pb2.GetJobRequest, context: grpc.ServicerContext) -> job_pb2.FineTuningJob:
        self._fail(context)
        self.authorization = dict(context.invocation_metadata()).get("authorization", "")
        if request.name not in self.jobs:
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.ErrorInfo(reason="NO_SUCH_JOB", domain="qzo.dev"))
            status = status_pb2.Status(code=5, message="no such job", details=[detail])
            context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
            context.abort(grpc.StatusCode.NOT_FOUND, "no such job")
        return self.jobs[request.name]

    def CancelJob(self, request: job_pb2.CancelJobRequest, context: grpc.ServicerContext) -> job_pb2.FineTuningJob:
        self._fail(context)
        self.jobs[request.name].state = job_pb2.FineTuningJob.CANCELLED
        return self.jobs[request.name]

    def ListJobs(self, request: job_pb2.ListJobsRequest, context: grpc.ServicerContext) -> job_pb2.ListJobsResponse:
        first = int(request.page_token or 0)
        page = list(self.jobs.values())[first : first + 2]
        more = first + 2 < len(self.jobs)
        return job_pb2.ListJobsResponse(jobs=page, next_page_token=str(first + 2) if more else "")

    def WatchJob(self, request: job_pb2.WatchJobRequest, context: grpc.ServicerContext):
        self.watches += 1
        self.authorization = dict(context.invocation_metadata()).get("authorization", "")
        sent = 0
        # Two events too many, as a careless server might send after a break.
        first = max(request.from_sequence - (2 if self.watches > 1 else 0), 1)
        for sequence in range(first, self.events + 1):
            if sent == self.break_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection broken")
            yield job_pb2.WatchJobResponse(event=job_pb2.JobEvent(sequence=sequence))
            sent += 1

    def ListJobEvents(self, request: job_pb2.ListJobEventsRequest, context: grpc.ServicerContext) -> job_pb2.ListJobEventsResponse:
        """A short run: three steps, a validation after the first and the last."""
        events = [job_pb2.JobEvent(sequence=1, state=job_pb2.FineTuningJob.RUNNING)]
        for step in (1, 2, 3):
            events.append(job_pb2.JobEvent(step=job_pb2.StepMetrics(step=step, train_loss=1 / step, workers=2)))
            if step != 2:
                events.append(job_pb2.JobEvent(evaluation=common_pb2.Evaluation(step=step, split="validation", loss=2 / step)))
        return job_pb2.ListJobEventsResponse(events=events)

    def _fail(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.failures > 0:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "made to fail")


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    def __init__(self) -> None:
        self.received = b""

    def CreateDataset(self, requests, context: grpc.ServicerContext) -> dataset_pb2.Dataset:
        header = next(requests).header
        self.received = b"".join(r.data for r in requests)
        return dataset_pb2.Dataset(name=f"{header.parent}/datasets/{header.dataset_id or 'd'}", digest=header.digest)


class Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.bytes_received = 0

    def FindMissingFiles(
        self, request: model_pb2.FindMissingFilesRequest, context: grpc.ServicerContext
    ) -> model_pb2.FindMissingFilesResponse:
        listed = (line.split("  ", 1) for line in request.file_list.splitlines())
        return model_pb2.FindMissingFilesResponse(files=[name for digest, name in listed if digest not in self.files])

    def CreateModel(self, requests, context: grpc.ServicerContext) -> model_pb2.Model:
        header = next(requests).header
        if header.file_list:
            return self._in_several_files(header, requests)
        data = b"".join(r.data for r in requests)
        self.bytes_received += len(data)
        if not data and header.digest not in self.files:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "data needed")
        self.files.setdefault(header.digest, data)
        return model_pb2.Model(name=f"{header.parent}/models/m", digest=header.digest)

    def _in_several_files(self, header: model_pb2.CreateModelRequest.Header, requests) -> model_pb2.Model:
        received: dict[str, bytes] = {}
        for request in requests:
            if request.WhichOneof("part") == "file":
                received[name := request.file] = b""
            else:
                received[name] += request.data
                self.bytes_received += len(request.data)
        self.files.update({hashlib.sha256(data).hexdigest(): data for data in received.values()})
        listed = [line.split("  ", 1) for line in header.file_list.splitlines()]
        assert all(digest in self.files for digest, _ in listed)
        return model_pb2.Model(
            name=f"{header.parent}/models/m",
            digest=hashlib.sha256(header.file_list.encode()).hexdigest(),
            files=[model_pb2.Model.File(name=name, digest=digest) for digest, name in listed],
        )


class Inference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self) -> None:
        self.last = inference_pb2.GenerateRequest()

    def Generate(self, request: inference_pb2.GenerateRequest, context: grpc.ServicerContext):
        self.last = request
        if request.prompt == "fail":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        yield inference_pb2.GenerateResponse(text="Once ")
        yield inference_pb2.GenerateResponse(text="upon", finish=inference_pb2.GenerateResponse.STOP, tokens=2)

    def Score(self, request: inference_pb2.ScoreRequest, context: grpc.ServicerContext) -> inference_pb2.ScoreResponse:
        return inference_pb2.ScoreResponse(labels=list(request.task.options), rows=[{"label": 1} for _ in request.rows])


class FakeServer:
    def __init__(self) -> None:
        self.jobs, self.datasets, self.models, self.inference = Jobs(), Datasets(), Models(), Inference()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        job_pb2_grpc.add_JobServiceServicer_to_server(self.jobs, self._server)
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(self.datasets, self._server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self.models, self._server)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self.inference, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None)
