"""The application: what stands at each path. It keeps nothing; every request acts for the token that came with it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import qzo
from qzo_gateway import chat, errors, objects
from qzo_gateway.errors import BadRequest

_TOKEN_PREFIX = "qzo_"
_MAX_PAGE = 100


def _client(request: Request) -> qzo.AsyncClient:
    """Acts for the caller. A key that is no token of QZO, which OpenAI's clients insist on having, is not passed on."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    token = secret if scheme.lower() == "bearer" and secret.startswith(_TOKEN_PREFIX) else ""
    return request.app.state.client.acting_as(token, request.headers.get("openai-project"))


async def _json(request: Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(body, Mapping):
        raise BadRequest("the body is no JSON object")
    return body


def _page(request: Request, items: Iterable[dict[str, Any]], default: int = 20) -> JSONResponse:
    """`limit` of them after `after`."""
    try:
        limit = min(max(int(request.query_params.get("limit", default)), 1), _MAX_PAGE)
    except ValueError as error:
        raise BadRequest("limit: expected a number", "limit") from error
    rest = list(items)
    if after := request.query_params.get("after"):
        position = next((i for i, item in enumerate(rest) if item["id"] == after), None)
        if position is None:
            raise BadRequest(f"after: there is no {after}", "after")
        rest = rest[position + 1 :]
    data = rest[:limit]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return JSONResponse({"object": "list", "data": data, "has_more": len(rest) > limit, **ends})


async def create_file(request: Request) -> Response:
    form = await request.form()
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, UploadFile):
        raise BadRequest("file: missing", "file")
    if purpose != "fine-tune":
        raise BadRequest(f"purpose: {purpose!r}, expected 'fine-tune'", "purpose")
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        while data := await upload.read(1 << 20):
            file.write(data)
        file.flush()
        dataset = await _client(request).upload_dataset(file.name, display_name=(upload.filename or "")[:256])
    return JSONResponse(objects.file(dataset))


async def list_files(request: Request) -> Response:
    return _page(request, [objects.file(dataset) async for dataset in _client(request).datasets()], default=100)


async def get_file(request: Request) -> Response:
    return JSONResponse(objects.file(await _client(request).get_dataset(objects.dataset_of(request.path_params["id"]))))


async def delete_file(request: Request) -> Response:
    id = request.path_params["id"]
    await _client(request).delete_dataset(objects.dataset_of(id))
    return JSONResponse({"id": id, "object": "file", "deleted": True})


def _hyperparameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """The method's settings. "auto" leaves them to the server."""
    method = body.get("method") or {}
    if (kind := method.get("type", "supervised")) != "supervised":
        raise BadRequest(f"method.type: {kind!r}, expected 'supervised'", "method.type")
    given = (method.get("supervised") or {}).get("hyperparameters") or body.get("hyperparameters") or {}
    settings: dict[str, Any] = {}
    for key, ours in (("n_epochs", "epochs"), ("batch_size", "batch_size")):
        if (value := given.get(key, "auto")) != "auto":
            settings[ours] = value
    if (factor := given.get("learning_rate_multiplier", "auto")) != "auto":
        settings["learning_rate"] = factor * 0.01  # of the default
    if body.get("seed") is not None:
        settings["seed"] = int(body["seed"])
    return settings


async def create_job(request: Request) -> Response:
    body = await _json(request)
    for key in ("model", "training_file"):
        if not isinstance(body.get(key), str):
            raise BadRequest(f"{key}: missing", key)
    datasets = [{"name": objects.dataset_of(body["training_file"])}]
    if body.get("validation_file"):
        datasets.append({"name": objects.dataset_of(body["validation_file"]), "split": "validation"})
    labels = {str(key): str(value) for key, value in (body.get("metadata") or {}).items()}
    if body.get("suffix"):
        labels[objects.SUFFIX_LABEL] = str(body["suffix"])
    settings = _hyperparameters(body)
    if "epochs" in settings:
        labels[objects.EPOCHS_LABEL] = str(settings["epochs"])
    client = _client(request)
    job = await client.submit(
        {
            "base_model": body["model"],
            "datasets": datasets,
            "task": {"kind": "chat"},
            "method": settings,
            "display_name": str(body.get("suffix") or ""),
            "labels": labels,
        }
    )
    return JSONResponse(objects.job(job, client.project))


async def list_jobs(request: Request) -> Response:
    client = _client(request)
    return _page(request, [objects.job(job, client.project) async for job in client.list()])


async def get_job(request: Request) -> Response:
    client = _client(request)
    return JSONResponse(objects.job(await client.get(objects.job_of(request.path_params["id"])), client.project))


def _steer(verb: str) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        client = _client(request)
        job = await getattr(client, verb)(objects.job_of(request.path_params["id"]))
        return JSONResponse(objects.job(job, client.project))

    return handle


async def list_events(request: Request) -> Response:
    job = objects.job_of(request.path_params["id"])
    events = [objects.event(event, job) async for event in _client(request).events(job)]
    return _page(request, reversed(events))


async def list_checkpoints(request: Request) -> Response:
    client, name = _client(request), objects.job_of(request.path_params["id"])
    job, evaluations = await client.get(name), await client.evaluations(name)
    validations = [evaluation for evaluation in evaluations if evaluation.split == "validation" and evaluation.step > 0]
    return _page(request, [objects.checkpoint(validation, job, client.project) for validation in reversed(validations)], default=10)


async def list_models(request: Request) -> Response:
    client = _client(request)
    models, by_digest = [], {}
    async for model in client.models():
        by_digest[model.digest] = model.name
        models.append(objects.model(objects.short(model.name), model, client.project))
    async for adapter in client.adapters():
        if base := by_digest.get(adapter.base_model_digest):
            models.append(objects.model(objects.tuned_model(base, client.project, "", adapter.name), adapter, client.project))
    return JSONResponse({"object": "list", "data": models})


async def chat_completions(request: Request) -> Response:
    return await chat.complete(_client(request), await _json(request))


async def health(request: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


def make_app(**client: Any) -> Starlette:
    """Arguments as of qzo.AsyncClient."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with qzo.AsyncClient(**client) as app.state.client:
            yield

    job = "/v1/fine_tuning/jobs/{id}"
    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/v1/files", create_file, methods=["POST"]),
            Route("/v1/files", list_files),
            Route("/v1/files/{id}", get_file),
            Route("/v1/files/{id}", delete_file, methods=["DELETE"]),
            Route("/v1/fine_tuning/jobs", create_job, methods=["POST"]),
            Route("/v1/fine_tuning/jobs", list_jobs),
            Route(job, get_job),
            Route(f"{job}/cancel", _steer("cancel"), methods=["POST"]),
            Route(f"{job}/pause", _steer("pause"), methods=["POST"]),
            Route(f"{job}/resume", _steer("resume"), methods=["POST"]),
            Route(f"{job}/events", list_events),
            Route(f"{job}/checkpoints", list_checkpoints),
            Route("/v1/models", list_models),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/livez", health),
        ],
        exception_handlers={
            BadRequest: errors.on_bad_request,
            qzo.JobFileError: errors.on_job_file_error,
            qzo.QzoError: errors.on_qzo_error,
        },
    )
