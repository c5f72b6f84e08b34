"""What pyproject.toml asks for is few, pinned by hash, explained, and tied to no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?: \\\n    --hash=sha256:[0-9a-f]{64})+$", re.MULTILINE)
LEVELS = {"agent": (), "run": ("server",), "test": ("server", "test"), "dev": ("server", "test", "dev")}
MOST_AT_BASE = 8
MOST_FOR_THE_SERVER = 12


def test_the_direct_dependencies_stay_few() -> None:
    assert len(_asked()) <= MOST_AT_BASE
    assert len(_asked("server")) - len(_asked()) <= MOST_FOR_THE_SERVER


@pytest.mark.parametrize("level", LEVELS)
def test_every_dependency_is_pinned_by_hash_within_its_range(level: str) -> None:
    pins = _pins(level)
    for requirement in _asked(*LEVELS[level]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_required_without_a_hash(level: str) -> None:
    lines = _text(level).splitlines()
    required = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(required) == len(_pins(level))


@pytest.mark.parametrize("level", LEVELS)
def test_no_address_or_folder_of_the_machine_is_written_down(level: str) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|(^|\s)/", _text(level))


def test_a_larger_level_has_the_versions_of_the_smaller_one() -> None:
    assert _pins("agent").items() <= _pins("run").items() <= _pins("test").items() <= _pins("dev").items()


def test_every_direct_dependency_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)) - {"library"}
    assert explained == {
        canonicalize_name(requirement.name) for requirement in _asked("server", "tracing", "test", "dev")
    }


def _asked(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for each in lists for text in each]


def _pins(level: str) -> dict[str, str]:
    return {pin["name"]: pin["version"] for pin in PIN.finditer(_text(level))}


def _text(level: str) -> str:
    return (ROOT / "requirements" / f"{level}.txt").read_text(encoding="utf-8")
