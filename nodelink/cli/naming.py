"""How people name things: a task by its id or how that begins, an agent by its name or its id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodelink.cli.late import sdk
from nodelink.errors import AgentNotFound, CallerError, ErrorCode, FieldError, InvalidTask, TaskNotFound

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

SHORTEST_PREFIX = 6
MOST_CANDIDATES = 5
ID_LENGTH = 36

_WHOLE = re.compile(rf"[0-9a-f-]{{{ID_LENGTH}}}")
_BEGINNING = re.compile(rf"[0-9a-f-]{{{SHORTEST_PREFIX},{ID_LENGTH - 1}}}")
_TOO_SHORT = re.compile(rf"[0-9a-f]{{1,{SHORTEST_PREFIX - 1}}}")


class Ambiguous(CallerError):
    """Several things are named so."""

    code = ErrorCode.CONFLICT

    def __init__(self, kind: str, given: str, candidates: Sequence[str]) -> None:
        shown = ", ".join(candidates[:MOST_CANDIDATES])
        more = ", …" if len(candidates) > MOST_CANDIDATES else ""
        super().__init__(f"several {kind} are named {given!r}: {shown}{more}")


async def task_id_of(client: AsyncClient, given: str) -> str:
    """The id of a task, from itself or from how it begins. Raises `TaskNotFound`, `InvalidTask` or `Ambiguous`."""
    begun = given.lower()
    if _TOO_SHORT.fullmatch(begun):
        wrong = f"{given!r} is too short for a task's id: give {SHORTEST_PREFIX} characters of it or more"
        raise InvalidTask(FieldError("task_id", wrong), message=wrong)
    if _WHOLE.fullmatch(begun):
        return begun
    if not _BEGINNING.fullmatch(begun):
        return given
    matching = await client.list(sdk.TaskFilter(q=begun), limit=MOST_CANDIDATES + 1)
    candidates = [task.id for task in matching if task.id.startswith(begun)]  # a type may begin so too
    if not candidates:
        raise TaskNotFound(f"there is no task whose id begins with {given!r}")
    if len(candidates) > 1:
        raise Ambiguous("tasks", given, candidates)
    return candidates[0]


async def task_ids_of(client: AsyncClient, given: Sequence[str]) -> Sequence[str]:
    """The ids of several tasks, each once."""
    return list(dict.fromkeys([await task_id_of(client, one) for one in given]))


async def agent_id_of(client: AsyncClient, given: str) -> str:
    """The id of an agent, from itself or from its name. Raises `AgentNotFound` or `Ambiguous`."""
    known = await client.agents()
    if any(agent.id == given for agent in known):
        return given
    candidates = [agent.id for agent in known if agent.name == given]
    if not candidates:
        raise AgentNotFound(f"there is no agent {given!r}, neither by name nor by id")
    if len(candidates) > 1:
        raise Ambiguous("agents", given, candidates)
    return candidates[0]
