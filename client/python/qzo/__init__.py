"""Client of QZO: submit fine-tuning jobs, watch them, fetch their adapters."""

from qzo._proto.qzo.v1.adapter_pb2 import Adapter
from qzo._proto.qzo.v1.audit_pb2 import AuditRecord
from qzo._proto.qzo.v1.common_pb2 import Evaluation, Task
from qzo._proto.qzo.v1.dataset_pb2 import Dataset
from qzo._proto.qzo.v1.inference_pb2 import ScoreResponse
from qzo._proto.qzo.v1.job_pb2 import FineTuningJob, JobEvent, JobSpec
from qzo._proto.qzo.v1.model_pb2 import Model
from qzo._proto.qzo.v1.worker_pb2 import Worker
from qzo.aio import AsyncClient
from qzo.client import Client
from qzo.curve import LossCurve
from qzo.display import ProgressBar
from qzo.errors import JobFileError, QzoError

__all__ = [
    "Adapter",
    "AsyncClient",
    "AuditRecord",
    "Client",
    "Dataset",
    "Evaluation",
    "FineTuningJob",
    "JobEvent",
    "JobFileError",
    "JobSpec",
    "LossCurve",
    "Model",
    "ProgressBar",
    "QzoError",
    "ScoreResponse",
    "Task",
    "Worker",
]
