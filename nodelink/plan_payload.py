"""The payload of a `plan`, an `apply` or a `plan_and_apply`, read and checked: a tool, what it works on, and with what.

It names no file of the server or of the agent: what is not text in the payload is bytes by their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

from nodelink.errors import FieldError, InvalidTask
from nodelink.plan import APPLY

FIELDS = ("tool", "source", "inventory", "limit", "variables", "plan")
SOURCE_FIELDS = ("sha256", "playbook", "inventory")
STATEFUL = frozenset({"terraform", "tofu"})
"""Tools that remember what they have made, in the state of the task's workspace."""
STATEFUL_FIELDS = ("tool", "source", "variables", "plan")
STATEFUL_SOURCE_FIELDS = ("sha256", "directory")
MAX_LIMIT_LENGTH = 1_000
MAX_PATH_LENGTH = 1_000

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE_NAME = re.compile(r"\S+\.(ya?ml|json|tf)", re.ASCII)
_ARCHIVES = {
    False: 'the text of a playbook, or an archive: {"sha256": …, "playbook": "site.yml"}',
    True: 'the text of a configuration, or an archive: {"sha256": …, "directory": "site"}',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A tar, compressed or not, by the SHA-256 of its bytes, and the files in it that matter.

    `inventory` empty: none of its files. `directory`: where the configuration is, for a tool that has no playbook;
    empty: at the top.
    """

    sha256: str
    playbook: str = ""
    inventory: str = ""
    directory: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPayload:
    """What is to be planned or applied. `source`: the text of a playbook or a configuration, or an archive
    with one.

    `inventory`: its text; empty: the agent's machine alone, or the archive's. `plan`: the SHA-256 of the plan to apply,
    for an `apply`; empty for the others.
    """

    tool: str
    source: str | Archive
    inventory: str = ""
    limit: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    plan: str = ""

    def inputs(self, workspace: str = "") -> Mapping[str, str]:
        """The SHA-256 of each thing that decides what is done, by the name of its field.

        `workspace`: that of the task. It is an input of tools that have a state there.
        """
        source: object = self.source
        if isinstance(self.source, Archive):
            directory = [self.source.directory] if self.source.directory else []
            source = [self.source.sha256, self.source.playbook, self.source.inventory, *directory]
        parts: dict[str, object] = {
            "tool": self.tool,
            "source": source,
            "inventory": self.inventory,
            "limit": self.limit,
            "variables": self.variables,
        }
        if self.tool in STATEFUL:
            parts["workspace"] = workspace
        return {name: _sha256(part) for name, part in parts.items()}


def inputs_sha256(inputs: Mapping[str, str]) -> str:
    """One SHA-256 for all of them."""
    return _sha256(inputs)


def read_plan_payload(payload: bytes, *, type: str, tools: Collection[str]) -> PlanPayload:
    """Read the payload of a task of a type. `tools`: those that can be had.

    InvalidTask names the field that is wrong, and what would be right.
    """
    fields = _object(payload)
    tool = _tool(fields.get("tool"), tools)
    known = STATEFUL_FIELDS if tool in STATEFUL else FIELDS
    for name in sorted(fields.keys() - set(known)):
        _refuse(name, f"is not a field of a plan of {tool}; these are: {', '.join(known)}")
    source = _source(fields.get("source"), has_state=tool in STATEFUL)
    inventory = _text("inventory", fields.get("inventory", ""))
    if inventory and isinstance(source, Archive) and source.inventory:
        _refuse("inventory", "is given twice: as text, and as a file of the source")
    return PlanPayload(
        tool=tool,
        source=source,
        inventory=inventory,
        limit=_limit(fields.get("limit", "")),
        variables=_variables(fields.get("variables", {}), also="-" if tool in STATEFUL else ""),
        plan=_plan(fields.get("plan"), type),
    )


def _object(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except ValueError as error:  # text that is not UTF-8 among them
        raise InvalidTask(FieldError("payload", f"must be JSON: {error}")) from error
    except RecursionError as error:
        raise InvalidTask(FieldError("payload", "is nested too deep")) from error
    if not isinstance(fields, dict):
        _refuse("payload", 'must be an object with a "tool" and a "source"')
    return fields


def _tool(tool: object, tools: Collection[str]) -> str:
    if not isinstance(tool, str) or tool not in tools:
        _refuse("tool", f"must be a tool that this agent was given: {', '.join(sorted(tools)) or 'it has none'}")
    return tool


def _source(source: object, *, has_state: bool) -> str | Archive:
    wanted = _ARCHIVES[has_state]
    if isinstance(source, str):
        if not source.strip():
            _refuse("source", "must not be empty")
        if _FILE_NAME.fullmatch(source.strip()):
            _refuse("source", f"names a file; give {wanted}")
        return _text("source", source)
    if not isinstance(source, dict):
        _refuse("source", f"must be {wanted}")
    known = STATEFUL_SOURCE_FIELDS if has_state else SOURCE_FIELDS
    for name in sorted(source.keys() - set(known)):
        _refuse(f"source.{name}", f"is not a field of an archive; these are: {', '.join(known)}")
    sha256 = _digest("source.sha256", source.get("sha256"))
    if has_state:
        return Archive(sha256=sha256, directory=_within("directory", source))
    playbook = _path("source.playbook", source.get("playbook"))
    return Archive(sha256=sha256, playbook=playbook, inventory=_within("inventory", source))


def _within(name: str, source: Mapping[str, object]) -> str:
    """What an archive may name of what it holds; empty: it does not."""
    return _path(f"source.{name}", source[name]) if name in source else ""


def _path(name: str, value: object) -> str:
    """A file within the archive."""
    path = _text(name, value)
    parts = PurePosixPath(path).parts
    if not parts or len(path) > MAX_PATH_LENGTH or path.startswith(("/", "-")) or ".." in parts:
        _refuse(name, f"must be the path of a file within the archive, of at most {MAX_PATH_LENGTH} characters")
    return path


def _limit(value: object) -> str:
    limit = _text("limit", value)
    if len(limit) > MAX_LIMIT_LENGTH or not limit.isprintable() or "@" in limit:  # @ has it read a file
        _refuse("limit", f"must be a pattern of hosts: at most {MAX_LIMIT_LENGTH} printable characters, without '@'")
    return limit


def _variables(variables: object, *, also: str) -> Mapping[str, Any]:
    """Values by their names. `also`: what may be in a name, beside what every tool allows."""
    if not isinstance(variables, dict):
        _refuse("variables", "must be an object: values by the names of variables")
    for name in variables:
        plain = name[:1] + name[1:].replace(also or "_", "_")
        if not plain.isidentifier() or not name.isascii():
            _refuse("variables", f"has a name that no variable can have: {name[:64]!r}")
    return variables


def _plan(plan: object, type: str) -> str:
    if type == APPLY:
        return _digest("plan", plan)
    if plan is not None:
        _refuse("plan", f"is for tasks of the type {APPLY!r}: it names the plan to apply")
    return ""


def _digest(name: str, value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        _refuse(name, "must be a SHA-256: 64 small hexadecimal digits")
    return value


def _text(name: str, value: object) -> str:
    """A text that a file can hold."""
    if not isinstance(value, str):
        _refuse(name, "must be text")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        _refuse(name, "must be text that UTF-8 can carry, without NUL")
    return value


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _refuse(name: str, message: str) -> NoReturn:
    raise InvalidTask(FieldError(name, message))
