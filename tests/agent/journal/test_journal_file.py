"""The journal's file: what it knows again, whatever happened to it, and what a full disk does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nodelink.task import (
    AttemptRef,
    Declined,
    Execution,
    Finished,
    Gone,
    LogStream,
    Outcome,
    Reason,
    TaskRequest,
    TaskResponse,
    TaskSpec,
    Update,
)
from nodelink.values import evolve
from nodelink_agent.core.records import EndRecord, ForgetRecord, StartRecord
from nodelink_agent.journal.disk import Disk, Files
from nodelink_agent.journal.file import DAMAGED, NAME, NEW, RESERVE, JournalFile, JournalUnusable
from nodelink_agent.journal.known import Known
from nodelink_agent.records import Format
from tests.support.failing_disk import FailingDisk

A = AttemptRef("0190f3a2-7c1e-7abc-8def-0123456789ab", 1, 10)
B = AttemptRef("b", 2, 1 << 60)
DONE = Finished(
    outcome=Outcome.COMPLETED, reason=Reason.NONE, exit_code=0, output=b"\0\xff", log_totals={LogStream.STDOUT: 5}
)


def request(ref: AttemptRef = A) -> TaskRequest:
    spec = TaskSpec(type="shell", timeout_ms=5, metadata={"a": "b"}, execution=Execution.EXCLUSIVE)
    return TaskRequest(
        ref=ref, spec=spec, payload=b"", execution=Execution.EXCLUSIVE, lease_ms=7, basis=3, traceparent=""
    )


def begun(ref: AttemptRef = A, place: str = "spawner") -> StartRecord:
    return StartRecord(request(ref), place, 12.5)


def over(ref: AttemptRef = A, update: Update = DONE) -> EndRecord:
    return EndRecord(TaskResponse(ref, update))


def opened(place: Path | Files, *, next_session: int = 1, reserve: int = 0, least_dead: int = 1 << 20) -> JournalFile:
    disk = Disk(place) if isinstance(place, Path) else place
    return JournalFile(disk, next_session=next_session, reserve_bytes=reserve, least_dead_bytes=least_dead)


def written(directory: Path, *records: StartRecord | EndRecord | ForgetRecord) -> None:
    file = opened(directory)
    for record in records:
        file.append([record])
    file.close()


def states(file: JournalFile) -> dict[AttemptRef, bool]:
    """The attempts that it knows, and of each whether it has ended."""
    return {known.request.ref: known.response is not None for known in file.known}


def test_what_was_written_is_known_again_without_its_payload(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.append([StartRecord(evolve(request(), payload=b"secret"), "spawner", 12.5)])
    file.append([over(), begun(B, "")])
    file.close()
    assert b"secret" not in (tmp_path / NAME).read_bytes()
    assert opened(tmp_path).known == (
        Known(request(), "spawner", 12.5, TaskResponse(A, DONE)),
        Known(request(B), "", 12.5, None),
    )


@pytest.mark.parametrize(
    "update", [DONE, Gone(message="gone", agent_died=True), Declined(message="no", just_this=True)]
)
def test_every_kind_of_end_is_kept(tmp_path: Path, update: Update) -> None:
    written(tmp_path, begun(), over(update=update))
    assert [known.response for known in opened(tmp_path).known] == [TaskResponse(A, update)]


def test_what_is_forgotten_is_not_known(tmp_path: Path) -> None:
    written(tmp_path, begun(), begun(B), over(), ForgetRecord(A))
    assert states(opened(tmp_path)) == {B: False}


def test_a_new_journal_is_whole_from_the_next_session_on_and_an_old_one_from_its_own(tmp_path: Path) -> None:
    assert opened(tmp_path, next_session=4).remembers_since == 4
    assert opened(tmp_path, next_session=9).remembers_since == 4


def test_a_file_that_is_torn_anywhere_keeps_every_record_before(tmp_path: Path) -> None:
    written(tmp_path, begun())
    one = (tmp_path / NAME).read_bytes()
    written(tmp_path, over())
    two = (tmp_path / NAME).read_bytes()
    for length in range(len(one), len(two)):
        (tmp_path / NAME).write_bytes(two[:length])
        file = opened(tmp_path, next_session=9)
        assert (states(file), file.remembers_since) == ({A: False}, 1)
        file.append([over()])
        file.close()
        assert states(opened(tmp_path)) == {A: True}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(DAMAGED)]


def test_a_torn_header_is_damage(tmp_path: Path) -> None:
    written(tmp_path, begun())
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:10])
    file = opened(tmp_path, next_session=9)
    assert (file.known, file.remembers_since) == ((), 9)
    assert (tmp_path / f"{DAMAGED}1").read_bytes() == whole[:10]


def test_damage_in_the_middle_is_put_aside_and_the_rest_is_kept(tmp_path: Path) -> None:
    written(tmp_path, begun(), begun(B), over(B))
    whole = (tmp_path / NAME).read_bytes()
    for offset in range(0, len(whole), 7):
        (tmp_path / NAME).write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
        file = opened(tmp_path, next_session=9)
        aside = [path for path in tmp_path.iterdir() if path.name.startswith(DAMAGED)]
        if not aside:  # the very last record: that looks like a torn write
            assert states(file) == {A: False, B: False}
            continue
        assert file.remembers_since == 9
        assert file.known
        file.close()
        assert states(opened(tmp_path)) == states(file)
        for path in aside:
            path.unlink()


def test_an_attempt_whose_record_is_damaged_is_known_by_its_name(tmp_path: Path) -> None:
    written(tmp_path, begun(), begun(B), over(B))
    whole = (tmp_path / NAME).read_bytes()
    broken = whole.index(B.task_id.encode() + b'"') - 40  # in the last part of the record before
    (tmp_path / NAME).write_bytes(whole[:broken] + b"#" + whole[broken + 1 :])
    file = opened(tmp_path)
    assert states(file) == {A: False, B: True}
    found = next(known for known in file.known if known.request.ref == A)
    assert (found.place, found.request.spec.type, found.request.execution) == ("spawner", "shell", Execution.EXCLUSIVE)


def test_damaged_files_are_never_replaced_by_later_ones(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / NAME).write_bytes(b"rubbish %d" % number)
        opened(tmp_path).close()
        assert (tmp_path / f"{DAMAGED}{number}").read_bytes() == b"rubbish %d" % number


def test_a_journal_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = Format(b"JNL", 9).header
    (tmp_path / NAME).write_bytes(other)
    with pytest.raises(JournalUnusable, match="version"):
        opened(tmp_path)
    assert (tmp_path / NAME).read_bytes() == other


def test_what_nobody_needs_goes_when_it_outgrows_the_rest(tmp_path: Path) -> None:
    file = opened(tmp_path, least_dead=4_000)
    file.append([begun(B)])
    for number in range(100):
        ref = AttemptRef("x", 1, number)
        file.append([begun(ref), over(ref), ForgetRecord(ref)])
    file.append([over(B)])
    file.close()
    assert (tmp_path / NAME).stat().st_size < 12_000
    assert states(opened(tmp_path)) == {B: True}
    assert opened(tmp_path).remembers_since == 1


def test_after_many_rewrites_the_right_records_are_kept(tmp_path: Path) -> None:
    file = opened(tmp_path, least_dead=0)
    refs = [AttemptRef("x" * (number % 7 + 1), 1, number) for number in range(60)]
    for ref in refs:
        file.append([begun(ref), over(ref)])
    for ref in refs[:-1]:
        file.append([ForgetRecord(ref)])
    file.close()
    assert opened(tmp_path).known == (Known(request(refs[-1]), "spawner", 12.5, TaskResponse(refs[-1], DONE)),)
    assert not (tmp_path / f"{DAMAGED}1").exists()


def test_a_rewrite_that_was_cut_short_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path, begun())
    (tmp_path / NEW).write_bytes((tmp_path / NAME).read_bytes()[:30])
    assert states(opened(tmp_path)) == {A: False}
    assert not (tmp_path / NEW).exists()


def test_a_crash_between_the_two_names_of_a_rescue_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, begun())
    (tmp_path / NAME).rename(tmp_path / NEW)
    file = opened(tmp_path, next_session=9)
    assert (states(file), file.remembers_since) == ({A: False}, 1)
    assert (tmp_path / NAME).exists()


# --- a disk that is full, or fails


def test_a_start_that_does_not_fit_leaves_the_journal_whole(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    file = opened(disk)
    file.append([begun()])
    disk.room = 10
    with pytest.raises(OSError, match="No space left"):
        file.append([begun(B)])
    disk.room = None
    file.append([over()])
    assert states(opened(tmp_path)) == {A: True}
    assert not (tmp_path / f"{DAMAGED}1").exists()


def test_an_end_that_does_not_fit_is_written_in_the_place_of_the_reserve(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    file = opened(disk, reserve=5_000)
    assert (tmp_path / RESERVE).stat().st_size == 5_000
    file.append([begun()])
    disk.room = 10
    file.append([over()])
    assert states(opened(tmp_path)) == {A: True}
    assert file.lacks_reserve
    assert not file.take_reserve()
    disk.room = 5_000
    assert file.take_reserve()
    assert not file.lacks_reserve


def test_the_reserve_is_not_for_starts(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    file = opened(disk, reserve=5_000)
    disk.room = 10
    with pytest.raises(OSError, match="No space left"):
        file.append([begun()])
    assert (tmp_path / RESERVE).exists()


def test_not_even_the_reserve_helps_what_is_larger(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    file = opened(disk, reserve=50)
    file.append([begun()])
    disk.room = 0
    with pytest.raises(OSError, match="No space left"):
        file.append([over()])
    disk.room = None
    file.append([over()])
    assert states(opened(tmp_path)) == {A: True}


def test_a_disk_too_small_for_the_reserve_is_used_without(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    disk.room = 1_000
    file = opened(disk, reserve=5_000)
    file.append([begun()])
    assert not file.lacks_reserve
    assert states(opened(tmp_path)) == {A: False}


def test_after_a_sync_that_failed_everything_is_written_anew(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path)
    file = opened(disk)
    file.append([begun()])
    before = (tmp_path / NAME).stat().st_ino
    disk.fails_to_sync = True
    with pytest.raises(OSError, match="Input/output error") as raised:
        file.append([over()])
    assert raised.value.errno == errno.EIO
    disk.fails_to_sync = False
    file.append([over()])
    assert (tmp_path / NAME).stat().st_ino != before
    assert states(opened(tmp_path)) == {A: True}


def test_the_reserve_of_another_size_is_made_anew(tmp_path: Path) -> None:
    opened(tmp_path, reserve=5_000).close()
    opened(tmp_path, reserve=3_000).close()
    assert (tmp_path / RESERVE).stat().st_size == 3_000
    opened(tmp_path, reserve=0).close()
    assert not (tmp_path / RESERVE).exists()
