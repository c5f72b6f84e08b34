"""What TAB offers where the server knows the words: ids of tasks, names of agents, types and pools.

Within a fraction of a second or not at all, and without a word: whoever presses TAB has not asked for an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from nodelink.cli.late import sdk
from nodelink.errors import NodelinkError
from nodelink.server_address import find_server
from nodelink.task import PRIORITIES, ErrorCategory

if TYPE_CHECKING:
    import click

    from nodelink.client import Client

CALL_SECONDS = 0.15
"""How long the server may take; starting Python and gRPC takes about as long again."""

PATIENCE_VARIABLE = "NODELINK_COMPLETION_SECONDS"
"""For whoever has a server far away, and would rather wait for it."""

CACHE_SECONDS = 5.0
MOST_TASKS = 50

Word = tuple[str, str]
"""What may be completed, and what it is."""

_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@/+-]{0,127}")
"""A shell puts the word into the line as it is: what could mean something there is not offered."""


def task_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The newest tasks."""
    return _offered(context, "tasks", _tasks, begun)


def agent_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The agents, by name."""
    return _offered(context, "agents", _agents, begun)


def agent_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The agents, by id."""
    return _offered(context, "agent-ids", _agent_ids, begun)


def types(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The types that agents can run."""
    return _offered(context, "types", _types, begun)


def pools(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The pools that have agents."""
    return _offered(context, "pools", _pools, begun)


def workspaces_by_name(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The workspaces."""
    return _offered(context, "workspaces", _workspaces, begun)


def priorities(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The priorities that have names."""
    return [CompletionItem(name) for name in PRIORITIES if name.startswith(begun.upper())]


def failures(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """The kinds of failures that have names. With a number behind it, exit_code and signal name one of many."""
    return [CompletionItem(name.value) for name in ErrorCategory if name.startswith(begun)]


def _tasks(client: Client) -> Iterable[Word]:
    return [(task.id, f"{task.spec.type}, {task.status.value}") for task in client.list(limit=MOST_TASKS)]


def _agents(client: Client) -> Iterable[Word]:
    return [(agent.name, f"{agent.status}, pool {agent.pool}") for agent in client.agents()]


def _agent_ids(client: Client) -> Iterable[Word]:
    return [(agent.id, f"{agent.name}, {agent.status}, pool {agent.pool}") for agent in client.agents()]


def _types(client: Client) -> Iterable[Word]:
    return [(type, "") for type in sorted({type for agent in client.agents() for type in agent.types})]


def _pools(client: Client) -> Iterable[Word]:
    return [(pool, "") for pool in sorted({agent.pool for agent in client.agents()})]


def _workspaces(client: Client) -> Iterable[Word]:
    return [(one.name, f"{one.mode}, pool {one.pool}") for one in client.workspaces()]


def _offered(
    context: click.Context, kind: str, ask: Callable[[Client], Iterable[Word]], begun: str
) -> list[CompletionItem[str]]:
    server = context.params.get("server") or find_server()
    words = _remembered(server, kind)
    if words is None:
        words = _asked(server, ask)
        _remember(server, kind, words)
    fitting = [(word, about) for word, about in words if word.startswith(begun) and _HARMLESS.fullmatch(word)]
    return [CompletionItem(word, help=about or None) for word, about in fitting]


def _asked(server: str, ask: Callable[[Client], Iterable[Word]]) -> Sequence[Word]:
    try:
        with sdk.Client(server, timeout=_patience()) as client:
            return list(ask(client))
    except NodelinkError:
        return ()


def _patience() -> float:
    try:
        return max(0.0, float(os.environ.get(PATIENCE_VARIABLE, CALL_SECONDS)))
    except ValueError:
        return CALL_SECONDS


def _remembered(server: str, kind: str) -> Sequence[Word] | None:
    """What the server said a moment ago. None: it has not been asked."""
    path = _place(server, kind)
    try:
        if not 0 <= time.time() - path.stat().st_mtime < CACHE_SECONDS:
            return None
        return [(str(word), str(about)) for word, about in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None


def _remember(server: str, kind: str, words: Sequence[Word]) -> None:
    path = _place(server, kind)
    with contextlib.suppress(OSError):  # without a cache it is only slower
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(words, file)
        Path(name).replace(path)


def _place(server: str, kind: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    which = hashlib.sha256(server.encode()).hexdigest()[:16]
    return Path(base) / "nodelink" / f"{which}-{kind}.json"
