"""The pages of docs/ that are made from code. `python -m tests.support.doc_tables` writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric

from nodelink.task import TERMINAL, TaskStatus
from nodelink_server.clock import SystemClock
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.states import TABLE
from nodelink_server.metrics import Exposition
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.support.doc_cli import cli_reference_page
from tests.support.doc_errors import codes, codes_of_http
from tests.support.doc_limits import LIMITS
from tests.support.doc_parts import DOCS, page_with_parts
from tests.support.doc_settings import agent_settings, server_settings, unbuilt_settings


def statuses_page() -> str:
    """Every status, and every move that is legal."""
    rows = [
        f"| `{move.verb}` | {_joined(move.sources)} | `{move.target}` | {move.by} | {move.guard} |" for move in TABLE
    ]
    return "\n".join(
        [
            "# Statuses",
            "",
            "A task is in one of these statuses. What is not in the table does not happen. What each of them means is",
            "told in [concepts](concepts.md#statuses).",
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


PAGES: Mapping[str, Callable[[], str]] = {
    "cli-reference.md": cli_reference_page,
    "configuration.md": page_with_parts(
        "configuration.md",
        {
            "settings of the server": server_settings,
            "settings of the agent": agent_settings,
            "settings that are not built": unbuilt_settings,
        },
    ),
    "errors.md": page_with_parts("errors.md", {"codes": codes, "codes of HTTP": codes_of_http}),
    "limits.md": page_with_parts("limits.md", LIMITS),
    "metrics.md": metrics_page,
    "statuses.md": statuses_page,
}
"""Makes each of these pages as it should be now."""


async def _metrics() -> Sequence[Metric]:
    manager = TaskManager(store=MemoryStore(Disk()), clock=SystemClock(), new_id=str)
    return await Exposition(manager, version="", insecure=False).described()


def _told_as(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels_of(metric: Any) -> str:
    return ", ".join(f"`{label}`" for label in metric._labelnames)


def _joined(statuses: frozenset[TaskStatus]) -> str:
    return ", ".join(f"`{status}`" for status in TaskStatus if status in statuses)


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
