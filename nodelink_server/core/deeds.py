"""What is audited in full, beside decisions about tasks: deeds of callers, and of agents for the sake of attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LOCAL = "local"


def by_agent(agent_id: str) -> str:
    """Who does something for the sake of an attempt."""
    return f"agent:{agent_id}"


class Deed(NamedTuple):
    """What somebody has changed beside the course of a task, to be audited in full: who, about what, how it was and is.

    `about` names it as people do: `pool:default`, `workspace:site`, `agent:ID`, `task:ID`, `blob:SHA256`. None: it was
    not there, or is no more.
    """

    kind: str
    by: str
    about: str
    at: int
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
