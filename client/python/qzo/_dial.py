"""Channels to a server: TLS, certificates and tokens."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def dial(
    address: str,
    *,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    token_file: str | None,
    insecure: bool | None,
) -> grpc.Channel:
    """What is None comes from the environment. Raises OSError for a file that cannot be read."""
    credentials = channel_credentials(address, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, insecure=insecure)
    if credentials:
        channel = grpc.secure_channel(address, credentials, OPTIONS)
    else:
        channel = grpc.insecure_channel(address, OPTIONS)
    token_file = token_file or os.environ.get("QZO_TOKEN_FILE")
    if not token_file:
        return channel
    Path(token_file).read_bytes()  # now rather than in the first call
    return grpc.intercept_channel(channel, _Bearer(token_file))


def channel_credentials(
    address: str, *, tls_ca: str | None, tls_cert: str | None, tls_key: str | None, insecure: bool | None
) -> grpc.ChannelCredentials | None:
    """None for clear text."""
    ca = tls_ca or os.environ.get("QZO_TLS_CA")
    cert = tls_cert or os.environ.get("QZO_TLS_CERT")
    key = tls_key or os.environ.get("QZO_TLS_KEY")
    if insecure is None:
        insecure = os.environ.get("QZO_INSECURE", "").lower() in ("1", "true", "yes", "on")
    if ca or cert or key or not (insecure or is_loopback(address)):
        return grpc.ssl_channel_credentials(*(Path(path).read_bytes() if path else None for path in (ca, key, cert)))
    return None


def is_loopback(address: str) -> bool:
    """Whether host:port or unix:path can only be this machine."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0]
    if host in ("localhost", "[::1]"):
        return True
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to every call: to those in clear text on this machine, too, which gRPC's call credentials refuse."""

    def __init__(self, path: str):
        self._path = Path(path)

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._path.read_text().strip()}")]
        with_token = _CallDetails(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
        return continuation(with_token, request)

    # One for all four, whose types differ.
    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call
