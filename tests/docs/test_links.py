"""What a page points to is there: other pages, their headings, files of the code, runbooks of alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.pages import pages, prose_of
from tests.support.processes import ROOT

WRITTEN_BY_THE_READER = {"nodelink_agent/handlers/count_words.py"}
"""Files that a page tells its reader to make."""

FOLDERS = [ROOT, ROOT / "nodelink_server", ROOT / "nodelink_agent", ROOT / "nodelink"]
"""Where a path may begin, beside the page's own folder. Pages about one package leave its name out."""

_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(
    r"[\w./-]+\.(py|md|sh|proto|toml|yml|yaml)|(nodelink(_server|_agent)?|tests|scripts|docs|protos)/[\w./-]*"
)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page's headings make, as the usual hosts of repositories make them."""
    found: list[str] = []
    for heading in _HEADING.findall(prose_of(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        found.append(anchor)
    repeated = {f"{anchor}-{number}" for anchor in found for number in range(1, found.count(anchor))}
    return repeated.union(found)


def files_named_by(page: Path) -> Iterator[str]:
    """What a page names in code letters and looks like a file of this repository."""
    for name in _CODE.findall(prose_of(page)):
        if _FILE.fullmatch(name) and "/" in name and not name.startswith(("/", "./.")):
            yield name


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose_of(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    places = [page.parent, *FOLDERS]
    named = set(files_named_by(page)) - WRITTEN_BY_THE_READER
    assert not {name for name in named if not any((place / name).exists() for place in places)}


def test_every_page_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in _LINK.findall(index)}
    missing = {page.name for page in (ROOT / "docs").glob("*.md")} - linked - {"README.md"}
    assert not missing


def test_every_runbook_belongs_to_an_alert_and_every_alert_has_one() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts.yml").read_text(encoding="utf-8"))
    runbooks = {rule["annotations"]["runbook"] for group in rules["groups"] for rule in group["rules"]}
    page = ROOT / "docs" / "operations.md"
    section = prose_of(page).partition("\n## When an alert fires\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert runbooks == {f"docs/operations.md#{heading.lower().replace(' ', '-')}" for heading in headings}
