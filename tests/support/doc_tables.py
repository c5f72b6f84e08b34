"""The pages of docs/ that are made from code: settings, statuses. `python -m tests.support.doc_tables` writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nodelink.durations import format_duration
from nodelink.task import TERMINAL, TaskStatus
from nodelink_agent.settings import AgentSettings
from nodelink_server.core.states import TABLE
from nodelink_server.settings import ServerSettings

DOCS = Path(__file__).parents[2] / "docs"


def settings_page() -> str:
    """Every setting of both services."""
    return "\n".join(
        [
            "# Settings",
            "",
            "A flag beats the environment, that the file given with `--config` (`NODELINK_CONFIG`), that the default.",
            "In the TOML file a key is the name of a setting; what is meant for one service alone may stand in a",
            "table `[server]` or `[agent]`. Durations are written `1h30m` or `500ms`, addresses `host:port`. What is",
            "not right is refused at the start with exit code 78, naming the setting and where it came from.",
            "",
            "*This page is made from the code by `scripts/generate`.*",
            "",
            *_table("Server (`nodelink server`, `nodelink-server`)", ServerSettings),
            "",
            *_table("Agent (`nodelink agent`, `nodelink-agent`)", AgentSettings),
            "",
            "Published settings that this version does not know yet are refused by name.",
            "",
        ]
    )


def statuses_page() -> str:
    """Every status, and every move that is legal."""
    rows = [
        f"| `{move.verb}` | {_joined(move.sources)} | `{move.target}` | {move.by} | {move.guard} |" for move in TABLE
    ]
    return "\n".join(
        [
            "# Statuses",
            "",
            "A task is in one of these statuses. What is not in the table does not happen.",
            "",
            f"- live: {_joined(frozenset(TaskStatus) - TERMINAL)}",
            f"- terminal, and never changed: {_joined(TERMINAL)}",
            "",
            "*This page is made from the code by `scripts/generate`. Some moves are of parts that are not built yet.*",
            "",
            "| verb | from | to | by | guard |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


PAGES = {"settings.md": settings_page, "statuses.md": statuses_page}


def _table(title: str, cls: type[Any]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield "| setting | flag | environment | default | is |"
    yield "|---|---|---|---|---|"
    for field in dataclasses.fields(cls):
        how = field.metadata["setting"]
        yield f"| `{field.name}` | `{how.flag}` | `{how.env}` | {_default(field)} | {how.about} |"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if value in (dataclasses.MISSING, None, "", (), False):
        return ""
    return f"`{format_duration(value)}`" if isinstance(value, float) else f"`{value}`"


def _joined(statuses: frozenset[TaskStatus]) -> str:
    return ", ".join(f"`{status}`" for status in TaskStatus if status in statuses)


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
