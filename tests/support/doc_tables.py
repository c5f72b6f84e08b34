"""The pages of docs/ that are made from code. `python -m tests.support.doc_tables` writes them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from nodelink.durations import format_duration
from nodelink.task import TERMINAL, TaskStatus
from nodelink_agent.settings import AgentSettings
from nodelink_server.clock import SystemClock
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.states import TABLE
from nodelink_server.metrics import Exposition
from nodelink_server.settings import ServerSettings
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore

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


def metrics_page() -> str:
    """Every metric, with its labels."""
    rows = [
        f"| `{_told_as(metric)}` | {metric.type} | {_labels_of(metric)} | {metric.documentation} |"
        for metric in asyncio.run(_metrics())
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "What `GET /metrics` tells, beside what is usual for a process (`process_…`) and for Python",
            "(`python_gc_…`). Durations are seconds. Labels are bounded: never a task's id, never free text; of pools",
            "that are too many the later ones are counted together as `other`. How to use them: see",
            "[observability](observability.md).",
            "",
            "*This page is made from the code by `scripts/generate`.*",
            "",
            "| metric | type | labels | is |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


PAGES = {"settings.md": settings_page, "statuses.md": statuses_page, "metrics.md": metrics_page}


async def _metrics() -> Sequence[Metric]:
    manager = TaskManager(store=MemoryStore(Disk()), clock=SystemClock(), new_id=str)
    return await Exposition(manager, version="", insecure=False).described()


def _told_as(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels_of(metric: Any) -> str:
    return ", ".join(f"`{label}`" for label in metric._labelnames)


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
