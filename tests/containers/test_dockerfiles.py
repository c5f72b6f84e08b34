"""What Dockerfile.server and Dockerfile.agent promise on paper, and that they differ in nothing but what they must."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.containers import project

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("server", "agent")
GIVEN = {
    *("!LICENSE", "!README.md", "!pyproject.toml", "!requirements/*.txt"),
    *("!nodelink/", "!nodelink_agent/", "!nodelink_server/"),
}


def text(name: str) -> str:
    return (ROOT / f"Dockerfile.{name}").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_label_says_the_version_of_the_project(name: str) -> None:
    assert f'org.opencontainers.image.version="{project()["version"]}"' in text(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_after_its_program_which_is_installed(name: str) -> None:
    assert f'ENTRYPOINT ["/opt/nodelink/bin/nodelink-{name}"]' in text(name)
    assert f"nodelink-{name}" in project()["scripts"]
    assert (ROOT / f"nodelink_{name}" / "probe.py").exists()
    assert f'CMD ["/opt/nodelink/bin/python", "-m", "nodelink_{name}.probe"]' in text(name)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_installed_by_hash(name: str) -> None:
    requirements = re.findall(r"--require-hashes -r (requirements/[a-z]+\.txt)", text(name))
    installs = text(name).count(" install \\\n")
    assert len(requirements) == 1
    assert (ROOT / requirements[0]).exists()
    assert installs == 1 + text(name).count("--no-deps --no-build-isolation .")


def test_both_are_built_in_the_same_way() -> None:
    own = re.compile(
        r"^(#|LABEL|.*description|ENTRYPOINT|    CMD|.*requirements/|.*NODELINK_LOG_FORMAT|.*SHUTDOWN_GRACE|.*ON_STOP)"
    )
    server, agent = ([line for line in text(name).splitlines() if not own.match(line)] for name in NAMES)
    assert server == agent


def test_commands_are_stopped_with_their_agent_for_nothing_outlives_a_container() -> None:
    assert "    NODELINK_ON_STOP=stop\n" in text("agent")


def test_a_build_is_given_nothing_but_what_an_image_is_made_from() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    refused, *allowed = [line for line in lines if not line.startswith("#")]
    assert refused == "*"
    assert {line for line in allowed if line.startswith("!")} == GIVEN
