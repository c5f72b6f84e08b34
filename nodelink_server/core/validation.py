"""What a task must be to be accepted. The one place where that is decided, for every door."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from nodelink.errors import FieldError, InvalidTask, TooLarge
from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY
from nodelink.task import BY_RULE, DEFAULT_PRIORITY, ErrorCategory, Execution, RetryPolicy, Submission, TaskSpec
from nodelink_server.core.characters import MAX_KEY_CHARS, NAME, SAID, SPACES, SURROGATE, is_key
from nodelink_server.core.jsontext import read_json
from nodelink_server.core.placing_checks import asked_placing, placing_errors
from nodelink_server.core.plan_checks import asked_approval, may_plan, plan_errors

MAX_PAYLOAD_BYTES = 256 * 1024
MAX_BATCH = 1_000
MAX_METADATA = 64
MAX_METADATA_CHARS = 1_024
MAX_TIMEOUT_MS = 7 * 24 * 3600 * 1000
MAX_DELAY_MS = 366 * 24 * 3600 * 1000
MAX_JSON_DEPTH = 32
MAX_IDEMPOTENCY_KEY_CHARS = 255
MAX_ENV = 256
MAX_ENV_BYTES = 128 * 1024
MAX_ARGV = 1_024
MAX_ARGV_BYTES = 128 * 1024
MAX_GRACE_MS = 3600 * 1000
MAX_DRAIN_MS = 7 * 24 * 3600 * 1000
MAX_REASON_CHARS = 1_000
MAX_LOCK_CHARS = MAX_KEY_CHARS
MAX_ATTEMPTS = 100
MAX_RETRY_DELAY_MS = 24 * 3600 * 1000
MAX_RETRY_MULTIPLIER = 10
MAX_RETRY_ON = 32
MAX_EXIT_CODE = 255
MAX_SIGNAL = 64
BUILT_IN: Mapping[str, Execution] = {
    "echo": Execution.REPLAYABLE,
    "shell": Execution.ONCE,
    PLAN: Execution.REPLAYABLE,
    APPLY: Execution.EXCLUSIVE,
    PLAN_AND_APPLY: Execution.EXCLUSIVE,
}

UNBUILT_FIELDS: Mapping[str, str] = {
    "depends_on": "workflows",
}
"""Published fields that this version does not know yet, and what they will be for. They are refused by name."""

_CATEGORIES = frozenset(category.value for category in ErrorCategory)
_RETRY_ON = re.compile(r"(exit_code|signal):([1-9][0-9]{0,2})", re.ASCII)


def validate(submission: Submission, known_types: Mapping[str, Execution]) -> Execution:
    """The execution class of a valid submission.

    Raises `InvalidTask` or `TooLarge`, naming every field that is wrong.
    """
    _check_size(submission.payload)
    spec = submission.spec
    errors = [
        *_type_errors(spec, known_types),
        *_number_errors(spec),
        *_metadata_errors(spec),
        *_lock_errors(spec.lock),
        *(_retry_errors(spec.retry) if spec.retry else ()),
        *placing_errors(spec),
        *(plan_errors(spec) if may_plan(spec) else ()),
        *_own_errors(submission),
    ]
    if errors:
        raise InvalidTask(*errors)
    return spec.execution or known_types[spec.type]


def check_own(submission: Submission) -> None:
    """The same for a submission whose spec is known to be valid: of what it has beside that."""
    _check_size(submission.payload)
    errors = _own_errors(submission)
    if errors:
        raise InvalidTask(*errors)


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TooLarge(FieldError("payload", f"is {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"))


def _own_errors(submission: Submission) -> list[FieldError]:
    """What is wrong with what is a task's own, whatever others ask for."""
    errors = _payload_errors(submission)
    return errors if submission.idempotency_key is None else _key_errors(submission.idempotency_key) + errors


def check_batch(length: int, field: str) -> None:
    """Refuse a batch that is empty (`InvalidTask`) or too long (`TooLarge`), by the field that holds it."""
    if not length:
        raise InvalidTask(FieldError(field, "must not be empty"))
    if length > MAX_BATCH:
        raise TooLarge(FieldError(field, f"{length:,} are too many; send at most {MAX_BATCH:,} at a time"))


def check_reason(reason: str) -> None:
    """Refuse a decision without words, or with too many. Raises `InvalidTask`."""
    if not re.search(SAID, reason) or len(reason) > MAX_REASON_CHARS:
        raise InvalidTask(FieldError("reason", f"is needed, and has at most {MAX_REASON_CHARS:,} characters"))


def check_cancel(reason: str, grace_ms: int) -> None:
    """Refuse words that are too long, and a grace that is no such time. Raises `InvalidTask`, naming the fields."""
    errors = []
    if len(reason) > MAX_REASON_CHARS:
        errors.append(FieldError("reason", f"must have at most {MAX_REASON_CHARS:,} characters"))
    if not 0 <= grace_ms <= MAX_GRACE_MS:
        errors.append(FieldError("grace", "must be at least 0s and at most 1h"))
    if errors:
        raise InvalidTask(*errors)


def check_drain(note: str, deadline_ms: int | None) -> None:
    """Refuse words that are too long, and a deadline that is no such time. Raises `InvalidTask`, naming the fields."""
    errors = []
    if len(note) > MAX_REASON_CHARS:
        errors.append(FieldError("note", f"must have at most {MAX_REASON_CHARS:,} characters"))
    if deadline_ms is not None and not 0 <= deadline_ms <= MAX_DRAIN_MS:
        errors.append(FieldError("deadline", "must be at least 0s and at most 7d"))
    if errors:
        raise InvalidTask(*errors)


def digest(submission: Submission) -> bytes:
    """What was asked, in 32 bytes: equal for equal requests, whatever the order of their JSON members."""
    spec = submission.spec
    asked = [
        spec.type,
        spec.pool,
        spec.priority or DEFAULT_PRIORITY,
        spec.timeout_ms,
        spec.queue_timeout_ms,
        spec.scheduled_at,
        spec.delay_ms,
        spec.execution,
        dict(spec.metadata),
        json.loads(submission.payload),
    ]
    if spec.lock:  # only then: keys that were given before there were locks keep their meaning
        asked.append({"lock": spec.lock})
    if spec.retry:  # likewise
        asked.append({"retry": _canonical_retry(spec.retry)})
    limits = {"start_timeout": spec.start_timeout_ms, "total_timeout": spec.total_timeout_ms}
    if any(limit is not None for limit in limits.values()):
        asked.append(limits)
    placing = {**asked_placing(spec), **asked_approval(spec)}
    if placing:
        asked.append(placing)
    if submission.retry_of:
        asked.append(submission.retry_of)
    canonical = json.dumps(asked, sort_keys=True)
    return hashlib.sha256(canonical.encode()).digest()


def _canonical_retry(retry: RetryPolicy) -> Mapping[str, object]:
    return {
        "max_attempts": retry.max_attempts,
        "initial_ms": retry.initial_ms,
        "max_ms": retry.max_ms,
        "multiplier": float(retry.multiplier),  # 2 and 2.0 are the same
        "on": sorted(set(retry.on)),
    }


def _type_errors(spec: TaskSpec, known_types: Mapping[str, Execution]) -> list[FieldError]:
    errors = []
    if spec.type not in known_types:
        known = ", ".join(sorted(known_types))
        errors.append(FieldError("type", f"{spec.type[:64]!r} is not known; known types are {known}"))
    if not NAME.fullmatch(spec.pool):
        errors.append(
            FieldError("pool", "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit")
        )
    return errors


def _number_errors(spec: TaskSpec) -> list[FieldError]:
    errors = []
    if spec.priority != BY_RULE and not 1 <= spec.priority <= 100:
        errors.append(FieldError("priority", f"{spec.priority} is not from 1 to 100"))
    if spec.timeout_ms is not None and not 1 <= spec.timeout_ms <= MAX_TIMEOUT_MS:
        errors.append(FieldError("timeout", "must be at least 1ms and at most 7d"))
    if spec.queue_timeout_ms is not None and not 0 <= spec.queue_timeout_ms <= MAX_TIMEOUT_MS:
        errors.append(FieldError("queue_timeout", "must be at least 0s and at most 7d"))
    if spec.start_timeout_ms is not None and not 1 <= spec.start_timeout_ms <= MAX_TIMEOUT_MS:
        errors.append(FieldError("start_timeout", "must be at least 1ms and at most 7d"))
    if spec.total_timeout_ms is not None and not 1 <= spec.total_timeout_ms <= MAX_DELAY_MS:
        errors.append(FieldError("total_timeout", "must be at least 1ms and at most 366d"))
    if spec.delay_ms is not None and not 0 <= spec.delay_ms <= MAX_DELAY_MS:
        errors.append(FieldError("delay", "must be at least 0s and at most 366d"))
    if spec.delay_ms is not None and spec.scheduled_at is not None:
        errors.append(FieldError("delay", "cannot be given together with scheduled_at"))
    if spec.scheduled_at is not None and not 0 <= spec.scheduled_at < 253_402_300_800_000:
        errors.append(FieldError("scheduled_at", "must be a time from 1970 to 9999"))
    return errors


def _metadata_errors(spec: TaskSpec) -> list[FieldError]:
    if len(spec.metadata) > MAX_METADATA:
        return [FieldError("metadata", f"has {len(spec.metadata)} entries; at most {MAX_METADATA} are allowed")]
    errors = []
    for name, value in spec.metadata.items():
        if not name or len(name) > MAX_METADATA_CHARS or len(value) > MAX_METADATA_CHARS:
            allowed = f"names and values have at most {MAX_METADATA_CHARS} characters, names at least 1"
            errors.append(FieldError(f"metadata.{name[:64]}", allowed))
        elif SURROGATE.search(name) or SURROGATE.search(value):
            errors.append(FieldError("metadata", "has a half of a surrogate pair, which is no character"))
    return errors


def _lock_errors(lock: str) -> list[FieldError]:
    if not lock or is_key(lock):
        return []
    return [FieldError("lock", f"must have 1 to {MAX_LOCK_CHARS} printable characters")]


def _retry_errors(retry: RetryPolicy) -> list[FieldError]:
    errors = []
    if not 1 <= retry.max_attempts <= MAX_ATTEMPTS:
        errors.append(FieldError("retry.max_attempts", f"{retry.max_attempts} is not from 1 to {MAX_ATTEMPTS}"))
    if not 0 <= retry.initial_ms <= MAX_RETRY_DELAY_MS:
        errors.append(FieldError("retry.initial", "must be at least 0s and at most 1d"))
    elif retry.max_ms < retry.initial_ms:
        errors.append(FieldError("retry.max", "must be at least as long as retry.initial"))
    if retry.max_ms > MAX_RETRY_DELAY_MS:
        errors.append(FieldError("retry.max", "must be at most 1d"))
    if not 1 <= retry.multiplier <= MAX_RETRY_MULTIPLIER:  # no number (NaN) is within no bounds
        errors.append(FieldError("retry.multiplier", f"{retry.multiplier} is not from 1 to {MAX_RETRY_MULTIPLIER}"))
    return [*errors, *_retry_on_errors(retry.on)]


def _retry_on_errors(on: Sequence[str]) -> list[FieldError]:
    if len(on) > MAX_RETRY_ON:
        return [FieldError("retry.on", f"has {len(on)} entries; at most {MAX_RETRY_ON} are allowed")]
    categories = ", ".join(ErrorCategory)
    right = f"exit_code:N (1 to {MAX_EXIT_CODE}), signal:N (1 to {MAX_SIGNAL}), or one of {categories}"
    return [
        FieldError(f"retry.on[{index}]", f"{failure[:64]!r} is not known; use {right}")
        for index, failure in enumerate(on)
        if not _is_failure(failure)
    ]


def _is_failure(name: str) -> bool:
    """Whether it names a kind of failure: an error category, an exit code or a signal."""
    if name in _CATEGORIES:
        return True
    numbered = _RETRY_ON.fullmatch(name)
    return numbered is not None and int(numbered[2]) <= (MAX_SIGNAL if numbered[1] == "signal" else MAX_EXIT_CODE)


def check_key(key: str) -> None:
    """Refuse what cannot be an idempotency key. Raises `InvalidTask`."""
    errors = _key_errors(key)
    if errors:
        raise InvalidTask(*errors)


def _key_errors(key: str | None) -> list[FieldError]:
    if key is None or (1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS and not SURROGATE.search(key)):
        return []
    return [FieldError("idempotency_key", f"must have 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters")]


def _payload_errors(submission: Submission) -> list[FieldError]:
    if not submission.payload:
        return [FieldError("payload", "must be JSON text, such as null")]
    try:
        if _is_too_deep(submission.payload):
            return [FieldError("payload", f"is nested more than {MAX_JSON_DEPTH} deep")]
        payload = read_json(submission.payload, most_depth=None)  # which is known
    except ValueError as error:
        return [FieldError("payload", f"is not JSON: {error}")]
    return _shell_errors(payload) if submission.spec.type == "shell" else []


def _is_too_deep(payload: bytes) -> bool:
    """Whether brackets outside strings nest too deep. Cheap for payloads with few brackets."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_JSON_DEPTH:
        return False
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', payload):
        token = match.group()
        if token in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def _shell_errors(payload: object) -> list[FieldError]:
    if not isinstance(payload, dict):
        return [FieldError("payload", "must be an object with a command")]
    errors = [
        FieldError(f"payload.{str(name)[:64]}", "is not known; shell knows command, env, cwd and stdin")
        for name in payload
        if name not in {"command", "env", "cwd", "stdin"}
    ]
    errors += _command_errors(payload.get("command"))
    errors += _env_errors(payload.get("env"))
    for name in ("cwd", "stdin"):
        value = payload.get(name)
        if value is not None and not isinstance(value, str):
            errors.append(FieldError(f"payload.{name}", "must be a string"))
    if isinstance(payload.get("cwd"), str) and ("\0" in payload["cwd"] or not payload["cwd"]):
        errors.append(FieldError("payload.cwd", "must be a path"))
    return errors


def _command_errors(command: object) -> list[FieldError]:
    if isinstance(command, str) and command.strip(SPACES) and "\0" not in command:
        return _size_errors("payload.command", [command])
    if isinstance(command, list) and command and all(isinstance(part, str) and "\0" not in part for part in command):
        if not command[0]:
            return [FieldError("payload.command", "names no program")]
        if len(command) > MAX_ARGV:
            return [FieldError("payload.command", f"has {len(command)} arguments; at most {MAX_ARGV} are allowed")]
        return _size_errors("payload.command", command)
    return [FieldError("payload.command", "must be a text for sh -c, or a list of strings that begins with a program")]


def _size_errors(field: str, parts: list[str]) -> list[FieldError]:
    size = sum(len(part.encode(errors="surrogatepass")) for part in parts)
    if size > MAX_ARGV_BYTES:
        return [FieldError(field, f"is {size} bytes; at most {MAX_ARGV_BYTES} are allowed")]
    return []


def _env_errors(env: object) -> list[FieldError]:
    if env is None:
        return []
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        return [FieldError("payload.env", "must be an object of strings")]
    errors = [
        FieldError("payload.env", f"{name[:64]!r} is not the name of a variable")
        for name in env
        if not name or "=" in name or "\0" in name or "\0" in env[name]
    ]
    if len(env) > MAX_ENV:
        errors.append(FieldError("payload.env", f"has {len(env)} entries; at most {MAX_ENV} are allowed"))
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV_BYTES:
        errors.append(FieldError("payload.env", f"is larger than {MAX_ENV_BYTES} bytes"))
    return errors
