"""What a caller has given, checked before anything is sent: an error names the field, and says what would be right."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from nodelink.address import parse_address
from nodelink.errors import FieldError, InvalidTask, LinkLost
from nodelink.task import RetryPolicy
from nodelink.values import evolve

_T = TypeVar("_T")


def text_of(field: str, given: object) -> str:
    """A text that can be sent. Raises `InvalidTask`."""
    if not isinstance(given, str):
        raise _wrong(field, given, "text" if field != "task_id" else "the id of a task, which a handle has as .id")
    if not given.isascii():
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise InvalidTask(FieldError(field, f"cannot be sent as UTF-8: {error.reason}")) from error
    return given


def texts_of(field: str, given: Iterable[object]) -> Collection[str]:
    """Several texts. Raises `InvalidTask`, also for a single one, which is several letters."""
    return [text_of(field, one) for one in several(field, given)]


def several(field: str, given: Iterable[_T]) -> Iterable[_T]:
    """Several things, as they are. Raises `InvalidTask` for a single one."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise _wrong(field, given, "several, in a list")
    return given


def labels_of(field: str, given: object) -> dict[str, str]:
    """Texts by name. Raises `InvalidTask`."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _wrong(field, given, "names and texts, like {'team': 'green'}")
    return {text_of(f"{field} (a name)", name): text_of(f"{field}.{name}", value) for name, value in given.items()}


def count_of(field: str, given: object) -> int:
    """A whole number that is not negative. Raises `InvalidTask`."""
    if not isinstance(given, int) or not 0 <= given < 1 << 63:
        raise _wrong(field, given, "a whole number from 0 on")
    return given


def retry_of(given: object) -> RetryPolicy | None:
    """A policy that can be sent, None if none is given. Raises `InvalidTask`; how much is too much, the server says."""
    if given is None:
        return None
    if not isinstance(given, RetryPolicy):
        raise _wrong("retry", given, "a RetryPolicy")
    if not _is_number(given.max_attempts, int) or not 1 <= given.max_attempts < 1 << 32:  # a 0 would be the default
        raise _wrong("retry.max_attempts", given.max_attempts, "a whole number from 1 on")
    if not _is_number(given.multiplier, int | float) or not given.multiplier:
        raise _wrong("retry.multiplier", given.multiplier, "a number from 1 on")
    count_of("retry.initial_ms", given.initial_ms)
    count_of("retry.max_ms", given.max_ms)
    return evolve(given, on=tuple(texts_of("retry.on", given.on)))


def _is_number(given: object, kind: Any) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool)


def ms_of(field: str, given: object) -> int | None:
    """A moment in milliseconds since the epoch, None if none is given. Raises `InvalidTask`."""
    if given is None or isinstance(given, int):
        return given
    raise _wrong(field, given, "milliseconds since the epoch (UTC), as in the values that the client gives")


def check_wait(timeout: object) -> None:
    """How long somebody waits: a number of seconds, or None for ever. Raises `InvalidTask`."""
    if timeout is not None and not isinstance(timeout, int | float):
        raise _wrong("timeout", timeout, "a number of seconds, or None")


def server_of(given: str) -> str:
    """The address of a server. Raises `LinkLost` for what cannot be one."""
    if "://" in text_of("server", given):
        raise LinkLost(f"cannot reach the server: write {given!r} as host:port of its gRPC, like 127.0.0.1:50051")
    try:
        return str(parse_address(given))
    except ValueError as error:
        raise LinkLost(f"cannot reach the server: {error}") from error


def check_limits(*, timeout: float, patience: float, most_unacknowledged: int) -> None:
    """What a client is made with. Raises ValueError."""
    if timeout <= 0:
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    if patience < 0:
        raise ValueError(f"patience must be a number of seconds from 0 on, not {patience!r}")
    if most_unacknowledged < 1:
        raise ValueError(f"most_unacknowledged must be at least 1, not {most_unacknowledged!r}")


def _wrong(field: str, given: object, right: str) -> InvalidTask:
    return InvalidTask(FieldError(field, f"must be {right}, not {given!r:.100}"))
