"""What an agent is told that it offers, and how what is wrong about it is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nodelink.settings import SettingError
from nodelink_agent.settings import MAX_SLOTS, MAX_TYPES, AgentSettings, read_agent_settings

GIB = 1024**3 * 1000


def read(*argv: str, **environ: str) -> AgentSettings:
    return read_agent_settings(argv, environ)


def test_without_anything_given_nothing_is_said_of_resources_and_types() -> None:
    settings = read()
    assert (settings.resources, settings.type_limits) == ({}, {})


def test_resources_are_amounts_by_name() -> None:
    settings = read("--resources", "cpu=3.5, memory=8GiB,gpu=2,example.com/licence=0")
    assert settings.resources == {"cpu": 3_500, "memory": 8 * GIB, "gpu": 2_000, "example.com/licence": 0}


def test_resources_and_limits_can_stand_in_the_environment_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[resources]\ncpu = 0.5\nmemory = "1GiB"\n[type_limits]\nshell = 2\n')
    assert read(NODELINK_RESOURCES="gpu=1").resources == {"gpu": 1_000}
    assert read(NODELINK_TYPE_LIMITS="shell=2,echo=10").type_limits == {"shell": 2, "echo": 10}
    from_file = read(f"--config={file}")
    assert (from_file.resources, from_file.type_limits) == ({"cpu": 500, "memory": GIB}, {"shell": 2})


@pytest.mark.parametrize(
    "given, problem",
    [
        ("cpu", "'cpu' is not a list of resources; write cpu=4,memory=8GiB"),
        ("cpu=4,cpu=5", "'cpu=4,cpu=5' names 'cpu' twice; name each once"),
        ("cpu=four", "cpu: 'four' is not a quantity; write it like 4, 0.5, 500m or 8GiB"),
        ("cpu=", "cpu: '' is not a quantity"),
        ("CPU=4", "'CPU' is not the name of a resource, which has 1 to 63 small letters"),
        ("-cpu=4", "'-cpu' is not the name of a resource"),
        (f"{'c' * 64}=4", "is not the name of a resource"),
        (
            ",".join(f"r{number}=1" for number in range(63)),
            "63 resources are too many; at most 64, cpu and memory among",
        ),
    ],
)
def test_what_is_no_list_of_resources_is_refused(given: str, problem: str) -> None:
    with pytest.raises(SettingError, match=re.escape(problem)) as refusal:
        read(f"--resources={given}")
    assert str(refusal.value).startswith("setting resources (from --resources): ")


def test_as_many_resources_can_be_named_as_an_agent_may_have() -> None:
    assert len(read("--resources", ",".join(f"r{number}=1" for number in range(62))).resources) == 62
    with_both = ",".join(["cpu=1", "memory=1Gi", *(f"r{number}=1" for number in range(62))])
    assert len(read("--resources", with_both).resources) == 64


@pytest.mark.parametrize(
    "given, problem",
    [
        ("shell", "'shell' is not a list of types with their limits; write shell=2,echo=10"),
        ("shell=2,shell=3", "names 'shell' twice"),
        ("shell=0", f"shell: '0' is not a whole number from 1 to {MAX_SLOTS}"),
        (f"shell={MAX_SLOTS + 1}", f"'{MAX_SLOTS + 1}' is not a whole number from 1 to {MAX_SLOTS}"),
        ("no type=1", "'no type' is not a type; types are 1 to 63 letters, digits, '.', '_' or '-'"),
        (",".join(f"t{number}=1" for number in range(MAX_TYPES + 1)), "257 types are too many; limit at most 256"),
    ],
)
def test_what_is_no_list_of_limits_is_refused(given: str, problem: str) -> None:
    with pytest.raises(SettingError, match=re.escape(problem)):
        read("--type-limits", given)


def test_the_bounds_of_limits_are_allowed() -> None:
    assert read("--type-limits", f"shell=1,echo={MAX_SLOTS}").type_limits == {"shell": 1, "echo": MAX_SLOTS}
    assert len(read("--type-limits", ",".join(f"t{number}=1" for number in range(MAX_TYPES))).type_limits) == MAX_TYPES


@pytest.mark.parametrize(
    "given, problem",
    [
        ("zone", "'zone' is not a list of labels; write key=value,key=value"),
        ("zone=a,zone=b", "names 'zone' twice"),
        ("zöne=a", "'zöne' cannot name a label; use a letter or a digit, then"),
        ("zone=a b", "'a b' cannot be the value of label 'zone'; use letters, digits and any of"),
        (f"{'z' * 201}=a", "cannot name a label"),
        (f"zone={'a' * 201}", "cannot be the value of label 'zone'"),
        (",".join(f"l{number}=1" for number in range(65)), "65 labels are too many; give at most 64"),
    ],
)
def test_labels_that_no_selector_could_ask_for_are_refused(given: str, problem: str) -> None:
    with pytest.raises(SettingError, match=re.escape(problem)):
        read("--labels", given)


def test_labels_at_their_bounds_are_allowed() -> None:
    longest = {"z" * 200: "a" * 200, "empty": "", "example.com/a_b-c": "v1.2:x@y+z/w"}
    assert read("--labels", ",".join(f"{name}={value}" for name, value in longest.items())).labels == longest
    assert len(read("--labels", ",".join(f"l{number}=1" for number in range(64))).labels) == 64


def test_tools_are_off_unless_they_are_named_and_there(tmp_path: Path) -> None:
    program = tmp_path / "ansible-playbook"
    program.touch(mode=0o700)
    assert read().tools == ()
    assert read("--tools", "ansible, ansible", PATH=str(tmp_path)).tools == ("ansible",)
    with pytest.raises(SettingError, match=re.escape("'puppet' is not a tool; these are: ansible, terraform, tofu")):
        read("--tools=puppet", PATH=str(tmp_path))
    with pytest.raises(SettingError, match=re.escape("'ansible-playbook' is not in the PATH")):
        read("--tools=ansible", PATH=str(tmp_path / "empty"))
    with pytest.raises(SettingError, match=re.escape("(from --tools or NODELINK_TOOLS): 'tofu' is not in the PATH")):
        read("--tools=ansible,tofu", PATH=str(tmp_path))
