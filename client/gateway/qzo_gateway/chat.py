"""Chat completions: one answer, whole or as a stream of server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

import qzo
from qzo_gateway import errors
from qzo_gateway.errors import BadRequest
from qzo_gateway.objects import adapter_of

_FINISH = {1: "stop", 2: "length"}
# Parameters that change what is written. Others that are not listed here do nothing in OpenAI's API either, for such models.
_UNSUPPORTED = ("tools", "functions", "response_format", "logprobs", "top_logprobs", "logit_bias", "audio", "prediction")


def _number(body: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadRequest(f"{key}: {value!r}, expected a number from {low:g} to {high:g}", key)
    return value


def _messages(body: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = []
    for i, message in enumerate(body.get("messages") or []):
        content = message.get("content")
        if isinstance(content, list):  # parts: texts alone make sense here
            if any(part.get("type") != "text" for part in content):
                raise BadRequest(f"messages[{i}]: only text can be read", f"messages.[{i}].content")
            content = "".join(part["text"] for part in content)
        if not isinstance(content, str):
            raise BadRequest(f"messages[{i}]: expected a text as content", f"messages.[{i}].content")
        role = "system" if message.get("role") == "developer" else str(message.get("role"))
        messages.append({"role": role, "content": content})
    if not messages:
        raise BadRequest("messages: expected one at least", "messages")
    return messages


class _Stops:
    """Cuts a text at the first of some sequences, holding back what may be the beginning of one."""

    def __init__(self, stops: list[str]):
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        text = self._held + piece
        ends = [text.find(stop) for stop in self._stops if stop in text]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        keep = max((n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        return "" if self.found else self._held


async def complete(client: qzo.AsyncClient, body: Mapping[str, Any]) -> Response:
    for key in _UNSUPPORTED:
        if body.get(key):
            raise BadRequest(f"{key} is not supported", key)
    if body.get("n", 1) != 1:
        raise BadRequest("n: one answer at a time", "n")
    model = str(body.get("model") or "")
    adapter = adapter_of(model)
    if adapter is not None and adapter.startswith("ckpt-step-"):
        raise BadRequest("checkpoints are downloaded, not served: name the job's final model", "model", 404)
    stop = body.get("stop") or []
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1024
    pieces = client.stream(
        _messages(body),
        adapter=adapter or "",
        model="" if adapter else model,
        max_tokens=int(_number({"max_tokens": limit}, "max_tokens", 1024, 1, 4096)),
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 1e-9, 1),
        seed=int(_number(body, "seed", secrets.randbits(63), -(2**63), 2**63)) % 2**64,
    )
    answer = _Answer(model, pieces, [stop] if isinstance(stop, str) else list(stop))
    if not body.get("stream"):
        return JSONResponse(await answer.whole())
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    first = await anext(answer.texts(), None)  # what is wrong with a request shows before the stream begins
    return StreamingResponse(answer.events(first, with_usage), media_type="text/event-stream")


class _Answer:
    def __init__(self, model: str, responses: AsyncIterator[Any], stops: list[str]):
        self._responses = responses
        self._stops = _Stops(stops)
        self._finish = "stop"
        self._usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        self._base = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}
        self._texts = self._read()

    def texts(self) -> AsyncIterator[str]:
        return self._texts

    async def _read(self) -> AsyncIterator[str]:
        async for response in self._responses:
            used = response.prompt_tokens, response.tokens
            self._usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
            self._finish = _FINISH.get(response.finish, "stop")
            if text := self._stops.feed(response.text):
                yield text
            if self._stops.found:
                self._finish = "stop"
                return
        if text := self._stops.rest():
            yield text

    async def whole(self) -> dict[str, Any]:
        content = "".join([text async for text in self._texts])
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {**self._base, "object": "chat.completion", "choices": [choice], "usage": self._usage}

    async def events(self, first: str | None, with_usage: bool) -> AsyncIterator[str]:
        yield self._event({"role": "assistant", "content": ""})
        try:
            if first:
                yield self._event({"content": first})
            async for text in self._texts:
                yield self._event({"content": text})
        except qzo.QzoError as error:
            yield f"data: {json.dumps(errors.body_of(error)[1])}\n\n"
            return
        yield self._event({}, self._finish)
        if with_usage:
            yield self._data({"choices": [], "usage": self._usage})
        yield "data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], finish: str | None = None) -> str:
        return self._data({"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})

    def _data(self, content: dict[str, Any]) -> str:
        return f"data: {json.dumps({**self._base, 'object': 'chat.completion.chunk', **content}, ensure_ascii=False)}\n\n"
