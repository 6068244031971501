"""OpenAI's HTTP API in front of a QZO server."""

from qzo_gateway.app import make_app

__all__ = ["make_app"]
