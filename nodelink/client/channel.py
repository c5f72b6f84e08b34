"""How the clients reach a server: where, with which options, and how long they wait."""

from __future__ import annotations

DEFAULT_SERVER = "127.0.0.1:50051"

CALL_SECONDS = 30.0
"""The deadline of a call that the server answers at once."""

LONG_POLL_SECONDS = 30.0
"""How long one call waits for the end of a task; then the next one asks again."""

ANSWERED_EARLY_SECONDS = 1.0
"""A wait that is answered so much before its time, by a task that still runs, is not asked again at once."""

PATIENCE_SECONDS = 60.0
"""How long the server may be away before a client that follows something gives up."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive_timeout_ms alone has no effect below a minute
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # else an idle stream is looked after only twice
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_retries", 0),
)
