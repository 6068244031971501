"""What can go wrong, with the details that the server sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class JobFileError(ValueError):
    """A job description that cannot be right: `problems` lists all that is wrong with it."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


class QzoError(Exception):
    """A call that failed. `reason` is for programs (NOT_FOUND, …), `violations` pairs fields with what is wrong with them."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "", violations: list[tuple[str, str]] | None = None):
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = violations or []
        details = "".join(f"\n  {field}: {text}" for field, text in self.violations)
        super().__init__(f"{code.name}: {message}{details}")

    @classmethod
    def from_rpc(cls, error: grpc.RpcError) -> QzoError:
        reason, violations = "", []
        for key, value in cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()):
            if key != _DETAILS_KEY:
                continue
            for detail in status_pb2.Status.FromString(value).details:
                info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
                if detail.Unpack(info):
                    reason = info.reason
                elif detail.Unpack(bad_request):
                    violations = [(v.field, v.description) for v in bad_request.field_violations]
        return cls(error.code(), error.details() or "", reason, violations)
