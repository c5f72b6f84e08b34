"""How the clients reach a server: with which options, how long they wait, and how much they hold."""

from __future__ import annotations

CALL_SECONDS = 30.0
"""The deadline of a call that the server answers at once, further tries included."""

LONG_POLL_SECONDS = 30.0
"""How long one call waits for the end of a task; then the next one asks again."""

ANSWERED_EARLY_SECONDS = 1.0
"""A wait that is answered so much before its time, with nothing new, is not asked again at once."""

PATIENCE_SECONDS = 60.0
"""How long the server may be away before a client that follows or submits something gives up."""

IDLE_SECONDS = 1.0
"""After so long without a submission their stream is ended, until the next one: an open stream holds up a server that
wants to stop."""

CLOSE_SECONDS = 5.0
"""How long closing waits for the client's own threads."""

MOST_UNANSWERED = 10_000
"""How many submissions of a `Client` may be unacknowledged; then `submit` blocks. More than the server's window, so the
stream never runs dry for it."""

MOST_UNANSWERED_AIO = 100_000
"""The same for an `AsyncClient`, whose `submit` cannot wait: a loop without an await sends nothing before its end, so
there must be room for all of it. About 1 KB each, so 100 MB at most."""

MOST_UNANSWERED_BYTES = 64 << 20
"""How many bytes of submissions may be unacknowledged, in either client."""

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
