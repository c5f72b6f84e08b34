"""The tables of docs/limits.md: every number is read from the code that enforces it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from nodelink import checkpoint, quantities, selectors, settings
from nodelink.cli import task_reach
from nodelink.client import channel, lines
from nodelink.durations import format_duration as seconds
from nodelink.durations import format_duration_ms as ms
from nodelink_agent import endings, spool
from nodelink_agent.core import agent as agent_core
from nodelink_server import priority_rules, series
from nodelink_server.core import (
    accounts,
    blob_ports,
    blobs,
    bulk,
    characters,
    checkpoints,
    cleanup,
    events,
    extensions,
    handover,
    handshake,
    jsontext,
    ledger,
    limit_views,
    logbook,
    losses,
    pauses,
    placing_checks,
    scheduler,
    session,
    statistics,
    validation,
    waiters,
    waiting,
    workspaces,
)
from nodelink_server.rpc import messages, reading, requests, submit_stream
from nodelink_server.rpc import server as rpc_server
from nodelink_server.store import checkpoint_blobs, checkpoint_taking, payload_digests, sessions
from nodelink_server.web import filters, gate, logs, protocol, target, values, websocket
from nodelink_server.web import server as web_server
from tests.support.doc_parts import Part, table

Row = tuple[str, str, str]

HTTP = protocol.ConnectionLimits()
STREAMS = dict(rpc_server.OPTIONS)["grpc.max_concurrent_streams"]
OVERLOADED = "429 `OVERLOADED`, `RESOURCE_EXHAUSTED`"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift and count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return f"{count:,} bytes"


def tasks() -> Iterator[Row]:
    """What a task may be."""
    yield "payload", size(validation.MAX_PAYLOAD_BYTES), "413 `TOO_LARGE`"
    yield "nesting of a payload", f"{validation.MAX_JSON_DEPTH} levels", "422 `INVALID`"
    yield "tasks in a batch", f"{validation.MAX_BATCH:,}", "413 `TOO_LARGE`"
    yield "metadata of a task", f"{validation.MAX_METADATA} entries", "422 `INVALID`"
    yield "a name or a value in it", f"{validation.MAX_METADATA_CHARS:,} characters", "422 `INVALID`"
    yield "name of a pool or a type", "63 letters, digits, `.`, `_`, `-`", "422 `INVALID`"
    yield "idempotency key", f"{validation.MAX_IDEMPOTENCY_KEY_CHARS} characters", "422 `INVALID`"
    yield "`timeout`, `queue_timeout`, `start_timeout`", ms(validation.MAX_TIMEOUT_MS), "422 `INVALID`"
    yield "`total_timeout`", ms(validation.MAX_DELAY_MS), "422 `INVALID`"
    yield "`delay`", ms(validation.MAX_DELAY_MS), "422 `INVALID`"
    yield "`grace` of a cancel", ms(validation.MAX_GRACE_MS), "422 `INVALID`"
    yield "`reason` of a cancel or a decision", f"{validation.MAX_REASON_CHARS:,} characters", "422 `INVALID`"
    yield "`lock`", f"{validation.MAX_LOCK_CHARS} printable characters", "422 `INVALID`"
    yield "`max_attempts` of `retry`", f"{validation.MAX_ATTEMPTS}", "422 `INVALID`"
    yield "`initial` and `max` of `retry`", ms(validation.MAX_RETRY_DELAY_MS), "422 `INVALID`"
    yield "`multiplier` of `retry`", f"{validation.MAX_RETRY_MULTIPLIER}", "422 `INVALID`"
    yield "`on` of `retry`", f"{validation.MAX_RETRY_ON} kinds of failures", "422 `INVALID`"
    yield "time that a handler asks for before another try", seconds(endings.LONGEST_RETRY_AFTER), "cut"
    yield "extensions of an attempt", f"{extensions.MOST_EXTENSIONS:,}", "409 `CANNOT_EXTEND`"
    yield "arguments of a command", f"{validation.MAX_ARGV:,}, {size(validation.MAX_ARGV_BYTES)}", "422 `INVALID`"
    yield (
        "environment of a command",
        f"{validation.MAX_ENV} variables, {size(validation.MAX_ENV_BYTES)}",
        "422 `INVALID`",
    )
    yield "tasks that a bulk names", f"{bulk.MOST_IDS:,}", "413 `TOO_LARGE`"
    looked = f"{bulk.MOST_TASKS:,}, and {seconds(bulk.MOST_SECONDS)}"
    yield "tasks that one call of a bulk looks at, and how long it does", looked, "`more`, and where to go on"
    yield "tasks of `tasks wait --for`", f"{task_reach.MOST_AT_ONCE}", "exit code 2"
    yield "live tasks", "no limit, or `max_live_tasks`", OVERLOADED
    yield (
        "times that a `replayable` task is lost with its agent",
        f"{losses.MOST_LOSSES}",
        "`failed` (`infrastructure`)",
    )
    yield "agents that die while they run one task", f"{losses.MOST_DEATHS}", "`failed` (`poison`)"


def placing() -> Iterator[Row]:
    """Where a task runs, beside whom, and in whose turn."""
    yield "`labels`", f"{selectors.MAX_REQUIREMENTS} requirements", "422 `INVALID`"
    yield "a name or a value in them", f"{selectors.MAX_LABEL_CHARS} characters", "422 `INVALID`"
    yield "`slots`", f"{placing_checks.MAX_SLOTS:,}", "422 `INVALID`"
    yield "`resources`", f"{placing_checks.MAX_RESOURCES}", "422 `INVALID`"
    yield "an amount of one", f"{placing_checks.MAX_AMOUNT // 1000:,}", "422 `INVALID`"
    yield "`limits`", f"{placing_checks.MAX_LIMITS} keys", "422 `INVALID`"
    yield "places under one of them", f"{placing_checks.MAX_LIMIT:,}", "422 `INVALID`"
    yield "`rate`", f"{placing_checks.MAX_RATES} keys", "422 `INVALID`"
    yield "starts under one of them", f"{placing_checks.MAX_RATE:,}", "422 `INVALID`"
    yield "the time in which they are counted", ms(placing_checks.MAX_RATE_MS), "422 `INVALID`"
    yield "a key of `limits` or `rate`", f"{characters.MAX_KEY_CHARS} printable characters", "422 `INVALID`"
    yield "`unique_key`, `fairness_key`", f"{characters.MAX_KEY_CHARS} printable characters", "422 `INVALID`"
    yield "`fairness_weight`", f"{placing_checks.MAX_WEIGHT:,}", "422 `INVALID`"
    yield "`heartbeat_timeout`", ms(placing_checks.MAX_HEARTBEAT_MS), "422 `INVALID`"
    yield "tasks with agents at a time", "no limit, or `max_running`", "`pending` (`limit`)"
    yield "a limit that an operator sets", f"{limit_views.MAX_LIMIT:,}", "422 `INVALID`"
    listed = f"{limit_views.MOST_LISTED:,}, with {limit_views.MOST_HOLDERS} holders each"
    yield "limits in a list", listed, "counted, and shown by `name`"
    shown = f"{waiters.MOST_WAITERS} shown, {waiters.MOST_COUNTED} more counted"
    yield "tasks that wait for a limit", shown, "not counted"
    yield "workspaces", f"{workspaces.MOST_WORKSPACES:,}", "422 `INVALID`"
    yield "what is paused at a time", f"{pauses.MOST_PAUSES:,} pools and types", "422 `INVALID`"
    yield "a checkpoint in the answer to a pause", size(checkpoints.MOST_IN_ANSWER), "it is left out, and can be read"
    ended = f"{checkpoint_taking.MOST_ENDED:,}, the newest"
    yield (
        "tasks that have ended in a checkpoint, for their idempotency keys",
        ended,
        "the others are left out, and counted",
    )
    bound = checkpoint_blobs.BOUNDS
    yield "a blob in a checkpoint", size(bound.blob_bytes), "it is left out, counted and named"
    together = f"{size(bound.bytes)}, {bound.blobs:,} of them"
    yield "all blobs in a checkpoint", together, "the largest are left out, counted and named"
    named = f"{payload_digests.MOST_NAMED:,}"
    yield "blobs that payloads name, in a checkpoint", named, "they are not looked for, and not counted"
    yield "blobs that a checkpoint names as left out", f"{checkpoint.MOST_LEFT_OUT:,}", "counted"
    yield "`[priority_rules]`", f"{priority_rules.MOST_RULES:,}", "the server does not start"


def results() -> Iterator[Row]:
    """What a task may bring."""
    yield "inline output of a handler", size(endings.MAX_OUTPUT_BYTES), "`failed` (`resource`)"
    yield "message of an error", f"{endings.MAX_MESSAGE_LENGTH:,} characters", "cut"
    kept = f"the first {size(spool.HEAD_BYTES)} and the last {size(spool.TAIL_BYTES)}"
    yield "what a command prints, of each stream", kept, "a gap that says how much is missing"
    yield "output in one answer", size(logs.MOST_BYTES), "read on at `X-Next-Offset`"
    yield "a line of `stream_lines` in Python", size(lines.LONGEST_LINE), "given in pieces"


def data() -> Iterator[Row]:
    """Bytes, artifacts and states."""
    yield "bytes of a piece", size(blob_ports.MAX_CHUNK_BYTES), "413 `TOO_LARGE`"
    yield "bytes of one upload", size(blobs.MAX_BLOB_BYTES), "413 `TOO_LARGE`"
    yield "bytes of a workspace", "`blob_quota`", "429 `QUOTA_EXCEEDED`, `RESOURCE_EXHAUSTED`"
    yield "bytes on the disk", "all but `blob_reserve`", "503 `UNAVAILABLE`"
    yield "uploads under way", f"{blobs.MOST_UPLOADS:,}", OVERLOADED
    yield "pieces written, and blobs read, at a time", f"{blobs.MOST_TRANSFERS} each", OVERLOADED
    yield "an upload that does not go on", ms(blobs.UPLOAD_KEPT_MS), "forgotten"
    yield "artifacts of a task", f"{blob_ports.MOST_ARTIFACTS}", "422 `INVALID`"
    yield "name of an artifact", "63 letters, digits, `.`, `_`, `-`", "422 `INVALID`"
    yield "states of a workspace that are kept", f"{blob_ports.MOST_STATES}", "the oldest is forgotten"


def http() -> Iterator[Row]:
    """HTTP requests."""
    yield "body", size(gate.MAX_BODY_BYTES), "413 `TOO_LARGE`"
    yield "nesting of a body", f"{jsontext.MOST_DEPTH} levels", "400 `MALFORMED`"
    yield "path and query", size(target.MAX_TARGET_BYTES), "414 `TOO_LARGE`"
    yield "parameters", f"{target.MAX_PARAMETERS}", "422 `INVALID`"
    yield "headers", size(gate.MAX_HEADER_BYTES), "431 `TOO_LARGE`"
    yield "items on a page", f"{filters.MOST_PER_PAGE:,}", "422 `INVALID`"
    yield "`label` filters", f"{values.MAX_LABELS}", "422 `INVALID`"
    yield "`?wait=`", ms(values.MAX_WAIT_MS), "422 `INVALID`"
    connections = f"{web_server.MOST_CONNECTIONS:,}, or half of the files that may be open if that is less"
    yield "connections", connections, "503 `UNAVAILABLE`"
    yield "requests ahead of their answers on a connection", f"{protocol.MOST_AHEAD}", "400 `MALFORMED`"
    yield "headers must arrive within", seconds(HTTP.headers_seconds), "408 `REQUEST_TIMEOUT`"
    yield "the body after them within", seconds(HTTP.body_seconds), "the connection is closed"
    yield "an idle connection is kept", seconds(float(web_server.KEEP_ALIVE_SECONDS)), "closed"


def grpc() -> Iterator[Row]:
    """gRPC calls."""
    yield "a message that is sent", size(messages.MAX_MESSAGE_BYTES), "answers are cut to fit"
    yield "a message that is read", size(messages.READABLE_BYTES), "`RESOURCE_EXHAUSTED`"
    yield "items on a page", f"{requests.LARGEST_PAGE_SIZE:,}", "`INVALID_ARGUMENT`"
    yield "tasks in one wait", f"{waiting.MOST_TASKS:,}", "`INVALID_ARGUMENT`"
    yield "a wait without a deadline", ms(waiting.MAX_WAIT_MS), "answered with the task as it stands"
    yield "requests in a frame of `StreamSubmitTasks`", f"{validation.MAX_BATCH:,}", "the stream ends"
    yield "requests that are not acknowledged yet, on one stream", f"{submit_stream.WINDOW:,}", "the stream ends"
    yield "calls on one connection at a time", f"{STREAMS:,}", "more wait in the client"


def listeners() -> Iterator[Row]:
    """Listeners of events."""
    yield "listeners of all kinds together", f"{events.MOST_LISTENERS:,}", OVERLOADED
    yield "events that wait for one listener", f"{events.MOST_QUEUED:,}", "`reset`, and the stream ends"
    yield "output that waits for one listener", size(events.MOST_QUEUED_CHARS), "`reset`, and the stream ends"
    yield "a listener that takes nothing", seconds(HTTP.stall_seconds), "cut"
    yield "subscriptions of a WebSocket", f"{websocket.MOST_SUBSCRIPTIONS}", "an error, told in the WebSocket"
    yield "a message to a WebSocket", size(web_server.MAX_MESSAGE_BYTES), "closed with 1009"


def agent() -> Iterator[Row]:
    """Agents."""
    yield "slots", f"{handshake.MOST_SLOTS:,}", "refused at the start"
    yield "types of tasks", f"{handshake.MOST_TYPES}", "the session is refused"
    yield "labels", f"{settings.MAX_LABELS}", "refused at the start"
    yield "a name or a value of a label", f"{selectors.MAX_LABEL_CHARS} characters", "refused at the start"
    yield "resources", f"{quantities.MOST_RESOURCES}", "refused at the start"
    most = quantities.format_quantity(quantities.LARGEST_QUANTITY)
    yield "an amount of one, in `cpu` processors or bytes of `memory`", most, "refused at the start"
    yield "`type_limits`", f"{handshake.MOST_TYPES}, of 1 to {handshake.MOST_SLOTS:,}", "refused at the start"
    yield "`note` of a drain", f"{validation.MAX_REASON_CHARS:,} characters", "422 `INVALID`"
    yield "`deadline` of a drain", ms(validation.MAX_DRAIN_MS), "422 `INVALID`"
    yield "frame from an agent", size(reading.MAX_FRAME_BYTES), "the session ends"
    yield "a chunk of output", size(agent_core.MAX_CHUNK_BYTES), "the session ends"
    yield (
        "tasks in a frame to an agent",
        f"{handover.MOST_TASKS_PER_FRAME}, {size(handover.MOST_BYTES_PER_FRAME)}",
        "the next frame",
    )
    yield "output of an agent on its way", size(session.LOG_WINDOW_BYTES), "the agent keeps it on its disk"
    yield "connections remembered of each agent", f"{sessions.MOST_PER_AGENT:,}", "the oldest are forgotten"


def keeping() -> Iterator[Row]:
    """What is kept, and for how long."""
    yield "finished tasks in memory", f"`cleanup_delay`, at most {cleanup.MOST_FINISHED:,}", "read from the database"
    yield "finished tasks in the database", "`retention`", "removed with their output"
    yield "events", ms(cleanup.EVENTS_KEPT_MS), "`reset` for who comes later"
    yield "idempotency keys", ms(cleanup.KEYS_KEPT_MS), "the same key is a new task"
    yield "waiting tasks of a pool in memory", "`window`", "wait in the database, in the same order"
    yield "tasks handed out in one step", f"{scheduler.MOST_PER_LEASE:,}", "the next step"
    yield "changes in one commit", f"{ledger.MOST_PER_COMMIT:,}", "the next commit"
    yield "changes that wait for a commit", f"{ledger.MOST_GATHERED:,}", OVERLOADED
    yield "output in one commit", size(logbook.MOST_PER_COMMIT), "the next commit"


def figures() -> Iterator[Row]:
    """Statistics and metrics."""
    yield "buckets in an answer", f"{statistics.MOST_BUCKETS:,}", "422 `INVALID`"
    yield "groups in an answer", f"{statistics.MOST_GROUPS:,}", "422 `INVALID`"
    yield "counted apart in one minute", f"{accounts.MOST_CELLS:,} of type, pool and agent", "counted by agent"
    yield "series of one metric", f"{series.MOST_SERIES}", "counted as `other`"


def python() -> Iterator[Row]:
    """The Python client."""
    yield "`submit` ahead of the server, `Client`", f"{channel.MOST_UNANSWERED:,}", "`submit` blocks"
    yield "`submit` ahead of the server, `AsyncClient`", f"{channel.MOST_UNANSWERED_AIO:,}", "`Overloaded` is raised"
    yield "the same in bytes", size(channel.MOST_UNANSWERED_BYTES), "as above"


ROWS: Mapping[str, Callable[[], Iterable[Row]]] = {
    "tasks": tasks,
    "placing": placing,
    "results": results,
    "data": data,
    "http": http,
    "grpc": grpc,
    "listeners": listeners,
    "agents": agent,
    "keeping": keeping,
    "figures": figures,
    "python": python,
}


def _part(rows: Callable[[], Iterable[Row]]) -> Part:
    return lambda: table(("what", "at most", "past it"), rows())


LIMITS: Mapping[str, Part] = {name: _part(rows) for name, rows in ROWS.items()}
"""The parts of docs/limits.md."""
