"""The payload of a `shell` task, read and checked: command, environment, working directory, input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NoReturn

from nodelink.errors import FieldError, InvalidTask
from nodelink.values import value

FIELDS = ("command", "env", "cwd", "stdin")
_FIELDS = frozenset(FIELDS)
RESERVED = "NODELINK_"
"""Variables with this prefix are NodeLink's to set."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@value
class ShellPayload:
    """What to run. `cwd` None: a private directory of the attempt's."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin: bytes = b""


def read_payload(payload: bytes) -> ShellPayload:
    """Read a payload. InvalidTask names the field that is wrong, and what would be right."""
    try:
        fields = json.loads(payload)
    except ValueError as error:  # text that is not UTF-8 among them
        raise InvalidTask(FieldError("payload", f"must be JSON: {error}")) from error
    except RecursionError as error:
        raise InvalidTask(FieldError("payload", "is nested too deep")) from error
    if not isinstance(fields, dict):
        _refuse("payload", 'must be an object with a "command"')
    for name in fields.keys() - _FIELDS:
        _refuse(str(name), f"is not a field of a shell task; these are: {', '.join(FIELDS)}")
    return ShellPayload(
        argv=_argv(fields.get("command")),
        env=_env(fields.get("env")),
        cwd=_cwd(fields.get("cwd")),
        stdin=_stdin(fields.get("stdin")),
    )


def _argv(command: object) -> Sequence[str]:
    if isinstance(command, str):
        if not command.strip():
            _refuse("command", "must not be empty")
        return ["/bin/sh", "-c", _text("command", command)]
    if not isinstance(command, list) or not command:
        _refuse("command", "must be text for sh -c, or a list: a program and its arguments")
    argv = [_text(f"command[{index}]", word) for index, word in enumerate(command)]
    if not argv[0]:
        _refuse("command[0]", "must name a program")
    return argv


def _env(env: object) -> Mapping[str, str]:
    if env is None:
        return {}
    if not isinstance(env, dict):
        _refuse("env", "must be an object of texts")
    for name in env:
        _text("env", name)
        if not name or "=" in name:
            _refuse("env", f"has a name that no variable can have: {name!r}")
        if name.startswith(RESERVED):
            _refuse(f"env.{name}", f"names beginning with {RESERVED} are set by NodeLink")
    return {name: _text(f"env.{name}", value) for name, value in env.items()}


def _cwd(cwd: object) -> str | None:
    if cwd is None:
        return None
    path = _text("cwd", cwd)
    if not path.startswith("/"):
        _refuse("cwd", "must be an absolute path")
    return path


def _stdin(stdin: object) -> bytes:
    if stdin is None:
        return b""
    if not isinstance(stdin, str):
        _refuse("stdin", "must be text")
    try:
        return stdin.encode()
    except UnicodeEncodeError:
        _refuse("stdin", "must be text that UTF-8 can carry")


def _text(name: str, value: object) -> str:
    """A text that a program can be given."""
    if not isinstance(value, str):
        _refuse(name, "must be text")
    if "\0" in value:
        _refuse(name, "must not contain NUL")
    if not value.isascii() and _SURROGATE.search(value):
        _refuse(name, "must be text that UTF-8 can carry")
    return value


def _refuse(name: str, message: str) -> NoReturn:
    raise InvalidTask(FieldError(name, message))
