"""Where settings come from, and how a wrong one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nodelink.settings import (
    SettingError,
    labels,
    one_of,
    read_settings,
    seconds,
    setting,
    whole_number,
    yes_or_no,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A service for tests."""

    count: int = setting("how many", env="SAMPLE_COUNT", flag="--count", parse=whole_number(1, 10), default=5)
    wait: float = setting("how long", env="SAMPLE_WAIT", flag="--wait", parse=seconds(0, 60), default=1.0)
    mode: str = setting("how", env="SAMPLE_MODE", flag="--mode", parse=one_of("fast", "slow"), default="fast")
    loud: bool = setting("100 % loud", env="SAMPLE_LOUD", flag="--loud", parse=yes_or_no, default=False)
    tags: Mapping[str, str] = setting("labels", env="SAMPLE_TAGS", flag="--tags", parse=labels, default_factory=dict)


def read(*argv: str, **environ: str) -> Sample:
    return read_settings(Sample, program="sample", section="sample", argv=argv, environ=environ)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_without_anything_given_the_defaults_hold() -> None:
    assert read() == Sample(count=5, wait=1.0, mode="fast", loud=False, tags={})


def test_a_flag_beats_the_environment_that_the_file_that_the_default(file: Path) -> None:
    file.write_text("count = 2")
    assert read(f"--config={file}").count == 2
    assert read(f"--config={file}", SAMPLE_COUNT="3").count == 3
    assert read(f"--config={file}", "--count=4", SAMPLE_COUNT="3").count == 4
    assert read(NODELINK_CONFIG=str(file)).count == 2


def test_a_file_may_use_the_types_of_toml(file: Path) -> None:
    file.write_text('count = 3\nwait = "500ms"\nloud = true\n[tags]\nzone = "a"\n')
    assert read(f"--config={file}") == Sample(count=3, wait=0.5, loud=True, tags={"zone": "a"})


def test_services_can_share_a_file(file: Path) -> None:
    file.write_text("count = 3\n[sample]\ncount = 4\n[other]\nanything = 1\n")
    assert read(f"--config={file}").count == 4


def test_a_switch_takes_no_value() -> None:
    assert read("--loud").loud
    assert read(SAMPLE_LOUD="yes").loud
    assert not read(SAMPLE_LOUD="").loud


@pytest.mark.parametrize(
    "environ, message",
    [
        ({"SAMPLE_COUNT": "11"}, "setting count (from SAMPLE_COUNT): '11' is not a whole number from 1 to 10"),
        ({"SAMPLE_COUNT": "x"}, "setting count (from SAMPLE_COUNT): 'x' is not a whole number from 1 to 10"),
        ({"SAMPLE_WAIT": "2m"}, "setting wait (from SAMPLE_WAIT): '2m' must be at most 1m"),
        ({"SAMPLE_MODE": "odd"}, "setting mode (from SAMPLE_MODE): 'odd' is not one of fast, slow"),
        ({"SAMPLE_LOUD": "maybe"}, "setting loud (from SAMPLE_LOUD): 'maybe' is neither yes nor no"),
        (
            {"SAMPLE_TAGS": "a"},
            "setting tags (from SAMPLE_TAGS): 'a' is not a list of labels; write key=value,key=value",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_refused_with_its_source_and_what_would_be_right(
    environ: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingError) as refusal:
        read(**environ)
    assert str(refusal.value) == message


def test_a_key_that_does_not_exist_is_refused_with_the_one_that_was_meant(file: Path) -> None:
    file.write_text("cuont = 3")
    with pytest.raises(SettingError, match="did you mean count"):
        read(f"--config={file}")


@pytest.mark.parametrize("content", ["count = ", b"\xff"], ids=["not toml", "not text"])
def test_a_file_that_is_not_toml_is_refused_by_name(file: Path, content: str | bytes) -> None:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingError, match=r"settings\.toml.*is not TOML"):
        read(f"--config={file}")


def test_a_file_that_is_not_there_is_refused_by_name(file: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read(f"--config={file}")


def test_a_flag_that_does_not_exist_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        read("--cuont=3")
    assert exit.value.code == 2
    assert "--cuont" in capsys.readouterr().err


def test_help_names_variables_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        read("--help")
    assert exit.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "how long (SAMPLE_WAIT; default: 1s)" in shown
    assert "100 % loud (SAMPLE_LOUD)" in shown
