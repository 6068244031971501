"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

import grpc
from starlette.requests import Request
from starlette.responses import JSONResponse

import qzo

_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class BadRequest(Exception):
    """What the gateway itself finds wrong; `param` names it."""

    def __init__(self, message: str, param: str | None = None, status: int = 400):
        super().__init__(message)
        self.param = param
        self.status = status


def body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: qzo.QzoError) -> tuple[int, dict[str, Any]]:
    status = _HTTP.get(error.code, 500)
    param = error.violations[0][0] if error.violations else None
    return status, body(str(error), status, param, error.reason or None)


async def on_bad_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadRequest)
    return JSONResponse(body(str(error), error.status, error.param), status_code=error.status)


async def on_job_file_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(body(str(error), 400), status_code=400)


async def on_qzo_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, qzo.QzoError)
    status, content = body_of(error)
    return JSONResponse(content, status_code=status)
