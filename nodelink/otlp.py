"""Where spans are sent, as a setting."""

from __future__ import annotations

import importlib.util
from urllib.parse import urlsplit

_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc")


def parse_otlp_endpoint(text: str) -> str:
    """An OTLP/gRPC endpoint; empty: none. ValueError: it is none, or nothing is installed that could send to it."""
    if not text:
        return ""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("an endpoint holds no credentials; give them in OTEL_EXPORTER_OTLP_HEADERS")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or not _port(text):
        raise ValueError(f"{text!r} is not an endpoint; write http://host:port or https://host:port")
    if not _installed():
        raise ValueError(
            f"spans cannot be sent to {text}: install what sends them with pip install 'nodelink[tracing]'"
        )
    return text


def _port(text: str) -> int:
    try:
        return urlsplit(text).port or 0
    except ValueError:
        return 0


def _installed() -> bool:
    """Whether the extra is there. It is not loaded: the agent starts processes before anything loads gRPC."""
    try:
        return all(importlib.util.find_spec(name) for name in _NEEDED)
    except ModuleNotFoundError:
        return False
