"""The tables of settings in docs/configuration.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from nodelink.durations import format_duration
from nodelink_agent.settings import AgentSettings
from nodelink_server.settings import UNBUILT, ServerSettings
from tests.support.doc_parts import table

HEAD = ("setting", "flag", "environment", "default", "is")


def server_settings() -> Iterator[str]:
    """Every setting of the server."""
    return table(HEAD, _rows(ServerSettings))


def agent_settings() -> Iterator[str]:
    """Every setting of the agent."""
    return table(HEAD, _rows(AgentSettings))


def unbuilt_settings() -> Iterator[str]:
    """The settings that are published and refused."""
    yield ", ".join(f"`{name}`" for name in UNBUILT) + "."


def _rows(cls: type[Any]) -> Iterator[tuple[str, ...]]:
    for field in dataclasses.fields(cls):
        how = field.metadata["setting"]
        yield f"`{field.name}`", _quoted(how.flag), _quoted(how.env), _default(field), how.about


def _quoted(name: str) -> str:
    return f"`{name}`" if name else ""


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value in (dataclasses.MISSING, None, "", (), False):
        return ""
    return f"`{format_duration(value)}`" if isinstance(value, float) else f"`{value}`"
