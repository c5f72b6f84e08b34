"""Results as JSON, and what has changed between two of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.compare import comparison, verdict
from benchmarks.machine import commit, cpu_model, machine
from benchmarks.results import Earlier, NoResults, as_json, read, write
from tests.benchmarks.test_table import MEASURED, run_of


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "quick.json"

    write(path, as_json(run_of(MEASURED), suite="quick", machine={"commit": "abc"}))

    assert read(path) == Earlier({"stream_to_best_peer": 5.0, "stream_to_raw": 0.2}, is_quiet=True, commit="abc")


def test_json_holds_every_round_every_goal_and_what_is_missing() -> None:
    run = run_of(MEASURED, busy=0.4)
    run.not_measured["arq"] = "there is no apt-get"

    written = json.loads(json.dumps(as_json(run, suite="full", machine=machine())))

    assert written["figures"]["nodelink.stream.rate"] == {
        "name": "stream",
        "unit": "tasks/s",
        "median": 10_000.0,
        "rounds": [9_000.0, 10_000.0, 11_000.0],
        "quiet": False,
    }
    assert written["ratios"]["stream_to_best_peer"]["goal"] == ">= 15"
    assert written["ratios"]["stream_to_best_peer"]["holds"] is False
    assert written["quiet"] is False
    assert written["not_measured"] == {"arq": "there is no apt-get"}
    assert {"cores", "cpu", "python", "kernel", "libraries", "commit"} <= written["machine"].keys()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 0}', '{"version": 1, "ratios": {"a": 1}}'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "quick.json"
    path.write_text(text)

    with pytest.raises(NoResults, match=r"quick\.json"):
        read(path)


def test_a_comparison_tells_the_change_of_each_ratio() -> None:
    earlier = Earlier({"stream_to_raw": 0.05, "one_task_p50": 4.0, "shell_to_spawn": 0.5}, is_quiet=False, commit="abc")

    now = {"stream_to_raw": 0.10, "one_task_p50": 4.1, "stream_to_celery": 30.0}
    lines = comparison(earlier, now, is_quiet=True).splitlines()

    assert [" ".join(line.split()) for line in lines] == [
        "ratio then (abc) now change",
        "durable tasks/s ÷ Celery + redis, default - 30 not measured in both",
        "durable tasks/s ÷ raw stream echo at 256 0.05 0.1 +100.0% better",
        "one task p50 ÷ (raw ping-pong p50 + 2 syncs p50) 4 4.1 +2.5%",
        "once shell tasks/s ÷ raw asyncio spawn, the faster way 0.5 - not measured in both",
        "The machine was not quiet then.",
    ]


@pytest.mark.parametrize(
    "change, more, expected",
    [(0.2, True, "better"), (-0.2, True, "worse"), (0.2, False, "worse"), (-0.2, False, "better"), (0.05, True, "")],
)
def test_a_change_is_better_or_worse_by_what_the_ratio_is_of(change: float, more: bool, expected: str) -> None:
    assert verdict(change, more) == expected


def test_the_processor_is_named_as_it_names_itself() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"


def test_a_commit_with_changed_files_is_marked(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = commit(tmp_path)
    (tmp_path / "file").write_text("2")

    assert len(clean) == 12
    assert commit(tmp_path) == f"{clean}+"


def test_outside_of_git_there_is_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) == ""
