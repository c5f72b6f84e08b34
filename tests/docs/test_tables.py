"""Tables that people write leave out nothing that the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from nodelink.cli.exit_codes import Exit
from nodelink.task import TERMINAL, ErrorCategory, Reason, TaskStatus
from nodelink_agent.handlers.registry import Context
from nodelink_server.core.assignment import AssignmentDelays
from nodelink_server.core.ports import EventName
from tests.support.doc_parts import DOCS, names_of_parts
from tests.support.doc_tables import PAGES
from tests.support.pages import pages, prose_of
from tests.support.processes import ROOT, House


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its kind."""
    return prose_of(DOCS / page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of a text's tables, their heads among them."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def named(cell: str) -> set[str]:
    """What is written in code letters."""
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_made_from_code_is_fresh(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is not what the code says: run scripts/generate"


def test_what_is_marked_as_made_from_code_is_made_from_code() -> None:
    marked = {page.name for page in pages() if names_of_parts(page.read_text(encoding="utf-8"))}
    assert marked <= PAGES.keys()


def test_every_status_is_explained_and_said_to_be_final_or_not() -> None:
    table = [row for row in rows(section("concepts.md", "Statuses")) if len(row) == 3 and row[1] in {"", "yes"}]
    final = {status for row in table if row[1] for status in named(row[0])}
    assert {status for row in table for status in named(row[0])} == {str(status) for status in TaskStatus}
    assert final == {str(status) for status in TERMINAL}


def test_every_reason_is_explained_or_said_to_be_of_the_future() -> None:
    text = section("concepts.md", "Statuses").partition("Beside a status")[2]
    assert named(text) - {str(status) for status in TaskStatus} >= {str(reason) for reason in Reason if reason}


def test_every_category_of_errors_is_explained() -> None:
    table = list(rows(section("errors.md", "How a task says what went wrong")))
    assert {name for row in table for name in named(row[0])} == {str(category) for category in ErrorCategory}


def test_every_exit_code_is_explained() -> None:
    codes = {row[0] for row in rows(section("errors.md", "Exit codes")) if row[0].isdigit()}
    assert codes >= {str(int(code)) for code in Exit}


def test_every_event_is_explained() -> None:
    names = {name for row in rows(section("events.md", "What an event says")) for name in named(row[0])}
    assert not {str(event) for event in EventName} - names


def test_every_condition_is_explained() -> None:
    code = (ROOT / "nodelink_server/core/why.py").read_text(encoding="utf-8")
    conditions = {*re.findall(r'\bVerdict\("(\w+)"', code), Reason.LOCK, Reason.LIMIT, Reason.RATE}
    assert {name for row in rows(section("why.md", "The conditions")) for name in named(row[0])} == conditions


def test_every_reason_why_no_agent_was_found_is_explained() -> None:
    table = rows(section("why.md", "Assignment tries"))
    told = {name: row[2] for row in table for name in named(row[0]) - {"reason"}}
    delays = asdict(AssignmentDelays())
    each = {name: given if isinstance(given, tuple) else (given,) for name, given in delays.items()}
    assert told == {name: ", ".join(f"{one // 1000} s" for one in given) for name, given in each.items()}


@pytest.mark.parametrize("module,column", [("nodelink_server/__main__.py", 1), ("nodelink_agent/start.py", 2)])
def test_the_exit_codes_of_a_service_are_those_that_it_names_itself(module: str, column: int) -> None:
    doc = (ROOT / module).read_text(encoding="utf-8").split('"""')[1]
    table = rows(section("configuration.md", "Exit codes of the services"))
    said = {row[0] for row in table if row[0].isdigit() and row[column]}
    assert said == set(re.findall(r"\b(\d+) ", doc.partition("Exit codes:")[2]))


def test_everything_that_a_handler_is_offered_is_explained() -> None:
    offered = {name for name in vars(Context) if not name.startswith("_")}
    table = named(section("handlers.md", "What the context offers"))
    assert not offered - {re.split(r"[.(]", name)[0] for name in table}


@pytest.mark.slow
async def test_every_file_of_a_data_directory_is_explained(house: House) -> None:
    kept = {path.name for path in house.server.data_dir.iterdir() if path.suffix != ".tmp"}
    kept |= {path.name + "/" * path.is_dir() for path in (house.agent.data_dir / "agent").iterdir()}
    assert {"nodelink.db", "identity.json", "attempts/"} <= kept
    assert not kept - named(section("operations.md", "The data directory")) - {"status.tmp"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_that_is_named_exists(page: Path) -> None:
    scripts = set(re.findall(r"\bscripts/([a-z]+)\b", page.read_text(encoding="utf-8")))
    assert not {name for name in scripts if not (ROOT / "scripts" / name).exists()}
