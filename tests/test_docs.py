"""The documentation is true: pages made from code are fresh, links lead somewhere, the reader's commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.doc_tables import PAGES

ROOT = Path(__file__).parents[1]
PAGES_OF_PEOPLE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_made_from_code_is_fresh(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is not what the code says: run scripts/generate"


@pytest.mark.parametrize("page", PAGES_OF_PEOPLE, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to {missing}"


@pytest.mark.parametrize("page", PAGES_OF_PEOPLE, ids=lambda page: page.name)
def test_every_script_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\bscripts/([a-z]+)\b", page.read_text(encoding="utf-8")))
    missing = [name for name in named if not (ROOT / "scripts" / name).exists()]
    assert not missing, f"{page.name} names scripts/{missing}"
