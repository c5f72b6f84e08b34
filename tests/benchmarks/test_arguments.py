"""What `scripts/bench` can be told, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.arguments import (
    ALONE,
    IN_PARTS,
    is_standard,
    memory_sizes_of,
    parse,
    scale_sizes_of,
    sizes_of,
)
from benchmarks.suites import FULL, QUICK

NONSENSE = {
    "two suites": ["--quick", "--full"],
    "a suite and a mode of its own": ["--full", "--database"],
    "JSON of a mode that has none": ["--backlog", "--json", "out.json"],
    "a comparison of a mode that has none": ["--blobs", "--compare", "out.json"],
    "sizes of a mode that has its own": ["--database", "--tasks", "10"],
    "no rounds": ["--rounds", "0"],
    "fewer than no tasks": ["--tasks", "-1"],
    "a number that is none": ["--singles", "many"],
    "a directory that is not there": ["--directory", "/no/such/place"],
    "a mode that is not there": ["--quickly"],
    "a word": ["quick"],
    "two suites in parts": ["--scale", "--memory"],
    "a suite beside one in parts": ["--full", "--scale"],
    "a part that is not there": ["--scale", "agents,people"],
    "a part of another suite": ["--memory", "agents"],
    "no size": ["--scale", "--size", "0"],
    "a size of a suite that has others": ["--quick", "--size", "0.5"],
    "tasks of a suite in parts": ["--scale", "--tasks", "10"],
    "waiting tasks where none wait": ["--memory", "--waiting", "10"],
    "waiting tasks that are no numbers": ["--scale", "--waiting", "10,many"],
    "minutes of what ends by itself": ["--scale", "--minutes", "5"],
    "no time": ["--memory", "--minutes", "0"],
    "a time without an end": ["--memory", "--minutes", "inf"],
}


@pytest.mark.parametrize("argv", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(argv)

    assert refused.value.code == 2
    assert "usage: scripts/bench" in capsys.readouterr().err


def test_without_a_mode_it_is_quick() -> None:
    given = parse([])

    assert (given.mode, sizes_of(given), is_standard(given)) == ("quick", QUICK, True)


def test_what_is_not_said_is_as_the_suite_has_it() -> None:
    given = parse(["--full", "--singles", "7"])

    assert (sizes_of(given).singles, sizes_of(given).tasks) == (7, FULL.tasks)
    assert not is_standard(given)


def test_a_part_of_a_suite_is_not_the_suite() -> None:
    assert not is_standard(parse(["--only", "raw"]))


def test_a_part_that_is_not_there_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "resque"]) == 2

    assert "--only resque: there are raw gRPC, raw fdatasync" in capsys.readouterr().err


def test_a_suite_in_parts_is_all_of_it_or_what_is_named() -> None:
    whole, some = parse(["--scale"]), parse(["--scale", "agents,output"])

    assert (whole.mode, is_standard(whole), list(whole.scale)) == ("scale", True, [])
    assert (some.mode, is_standard(some), list(some.scale)) == ("scale", False, ["agents", "output"])


def test_sizes_of_suites_in_parts_can_be_given() -> None:
    at_scale = scale_sizes_of(parse(["--scale", "--size", "0.1", "--waiting", "10,2000"]))
    of_memory = memory_sizes_of(parse(["--memory", "--minutes", "0.5"]))

    assert (at_scale.size, list(at_scale.waiting), at_scale.of(250)) == (0.1, [10, 2_000], 25)
    assert (of_memory.size, of_memory.minutes) == (1.0, 0.5)


def test_help_names_every_mode(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])

    printed = capsys.readouterr().out
    assert all(f"--{mode}" in printed for mode in ("quick", "full", *IN_PARTS, *ALONE))


def test_a_file_that_cannot_be_compared_with_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--compare", str(tmp_path / "none.json")]) == 2

    assert "none.json: No such file or directory" in capsys.readouterr().err
