"""Where attempts print to and their commands work: what a start finds there."""

from __future__ import annotations

from pathlib import Path

from nodelink.task import AttemptRef
from nodelink_agent.outputs import AttemptDirectories


def test_at_a_start_only_what_is_known_is_kept(tmp_path: Path) -> None:
    for kind in ("attempts", "work"):
        for name in ("task-1-1-1", "task-2-1-2"):
            (tmp_path / kind / name).mkdir(parents=True)
    AttemptDirectories(tmp_path / "attempts", tmp_path / "work").clear(keep=[AttemptRef("task-2", 1, 2)])
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*")) == [
        Path("attempts/task-2-1-2"),
        Path("work/task-2-1-2"),
    ]
