"""What the clients are made of and can be tried without a server: tries, long polls, promises, windows, lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelink.client import LogPart, TaskFilter, TaskResult, new_task
from nodelink.client.lines import LONGEST_LINE, Lines
from nodelink.client.outgoing import FRAME_BYTES, MOST_IN_FRAME, KeyMaker, Outgoing, Promise, promise_of
from nodelink.client.patience import Heard, LongPoll, Tries
from nodelink.client.reading_figures import scheduler_status_of, stats_of
from nodelink.client.requests import clean_up_request, list_request, stats_request
from nodelink.client.window import Window
from nodelink.errors import InvalidTask, LinkLost, Overloaded, StoreUnavailable, TaskNotFound
from nodelink.task import LogStream, TaskStatus
from nodelink.v1 import admin_pb2, task_pb2


class Now:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def tries(now: Now, seconds: float = 10.0) -> Tries:
    return Tries(seconds, monotonic=now, random=lambda: 1.0)


def promise(size: int = 0, key: str = "k") -> Promise:
    return promise_of(new_task("echo", "x" * size), lambda: key)


def answer(first: int, count: int, credit: int = 0) -> task_pb2.StreamSubmitTasksResponse:
    outcomes = [task_pb2.SubmitOutcome(task_id=f"t{first + number}") for number in range(count)]
    return task_pb2.StreamSubmitTasksResponse(first_number=first, outcomes=outcomes, submit_credit=credit)


# --- tries and polls ------------------------------------------------------------------------------------------------


def test_tries_are_spread_and_wait_as_long_as_the_server_says() -> None:
    some = tries(Now())

    assert [some.delay_after(LinkLost()) for _ in range(5)] == [0.2, 0.4, 0.8, 1.6, 2.0]
    assert tries(Now()).delay_after(Overloaded(retry_after=3.0)) == 3.2


def test_tries_end_with_the_time_of_the_call() -> None:
    now = Now()
    some = tries(now)
    now.at = 9.9

    assert some.seconds_left == pytest.approx(0.1)
    with pytest.raises(LinkLost):
        some.delay_after(LinkLost())
    with pytest.raises(StoreUnavailable):
        tries(Now()).delay_after(StoreUnavailable(retry_after=11.0))


def test_only_what_may_pass_is_tried_again() -> None:
    with pytest.raises(TaskNotFound):
        tries(Now()).delay_after(TaskNotFound())


def test_a_long_wait_is_cut_into_calls() -> None:
    now = Now()
    poll = LongPoll(70.0, monotonic=now)
    assert poll.next_seconds() == 30.0
    now.at = 65.0

    assert (poll.next_seconds(), poll.is_over) == (5.0, False)
    now.at = 70.0
    assert (poll.next_seconds(), poll.is_over) == (0.0, True)


def test_only_an_early_answer_with_nothing_new_leaves_the_server_in_peace() -> None:
    now = Now()
    poll = LongPoll(None, monotonic=now)
    poll.next_seconds()

    assert [poll.pause_after(heard) for heard in (Heard.NOTHING, Heard.SOME)] == [0.2, 0.0]
    now.at = 29.5
    assert poll.pause_after(Heard.NOTHING) == 0.0


# --- promises -------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_without_credit() -> None:
    outgoing = Outgoing()
    outgoing.add(promise())
    outgoing.begin()
    assert outgoing.take() == (0, [])
    outgoing.answered(answer(0, 0, credit=1))

    assert len(outgoing.take()[1]) == 1
    outgoing.begin()  # what one stream has allowed is nothing to the next one
    assert outgoing.take() == (0, [])


def test_a_frame_has_bounds() -> None:
    outgoing = Outgoing()
    outgoing.begin()
    outgoing.answered(answer(0, 0, credit=5_000))
    for _ in range(MOST_IN_FRAME + 1):
        outgoing.add(promise())
    for _ in range(2):
        outgoing.add(promise(FRAME_BYTES))

    assert [(number, len(taken)) for number, taken in (outgoing.take() for _ in range(4))] == [
        *((0, MOST_IN_FRAME), (MOST_IN_FRAME, 1), (MOST_IN_FRAME + 1, 1), (MOST_IN_FRAME + 2, 1))
    ]


def test_what_is_settled_holds_no_payload() -> None:
    outgoing = Outgoing()
    one = promise(1_000)
    outgoing.add(one)
    outgoing.begin()
    outgoing.answered(answer(0, 0, credit=1))
    outgoing.take()
    assert outgoing.size == one.size > 1_000
    outgoing.answered(answer(0, 1))

    assert (len(outgoing), outgoing.size, one.request) == (0, 0, None)


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "answer", "break"]), st.integers(1, 5)), max_size=60))
def test_whatever_breaks_every_promise_is_settled_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    outgoing, added, settled = Outgoing(), list[Promise](), list[Promise]()
    first, under_way = 0, 0
    outgoing.begin()
    for step, count in [*steps, ("break", 1), ("take", 1), ("answer", 10_000)]:
        match step:
            case "add":
                for _ in range(count):
                    added.append(promise())
                    outgoing.add(added[-1])
            case "take":
                outgoing.answered(answer(0, 0, credit=10_000))
                under_way += len(outgoing.take()[1])
            case "answer":
                done = outgoing.answered(answer(first, min(count, under_way)))
                settled += done
                first, under_way = first + len(done), under_way - len(done)
            case "break":
                outgoing.begin()
                first = under_way = 0

    assert settled == added
    assert len(outgoing) == 0


def test_refusals_are_remembered_until_somebody_looks_at_them() -> None:
    outgoing = Outgoing()
    first, second = promise(), promise()
    for one in (first, second):
        outgoing.add(one)
    outgoing.fail(LinkLost("away"))
    with pytest.raises(LinkLost):
        first.seen()

    assert str(outgoing.unseen()) == "away"
    assert outgoing.unseen() is None


def test_keys_are_short_and_never_the_same() -> None:
    new_key = KeyMaker("chance")

    assert [new_key() for _ in range(3)] == ["chance-1", "chance-2", "chance-3"]


# --- windows and lines ----------------------------------------------------------------------------------------------


def result(task_id: str) -> TaskResult:
    return TaskResult(task_id=task_id, status=TaskStatus.COMPLETED, attempt=1)


@pytest.mark.parametrize("ordered, expected", [(True, [[], ["a", "b"], ["c"]]), (False, [["b"], ["a"], ["c"]])])
def test_results_are_handed_out_in_order_or_as_they_come(ordered: bool, expected: list[list[str]]) -> None:
    window = Window(3, ordered=ordered)
    window.room -= 3
    window.place("abc")
    handed = [[one.task_id for one in window.take([result(task_id)])] for task_id in "bac"]

    assert handed == expected
    assert (window.room, window.waiting) == (3, [])


@pytest.mark.parametrize("size", [0, 1_001])
def test_a_window_that_cannot_be_waited_for_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="window"):
        Window(size, ordered=True)


def parts(*texts: bytes, stream: LogStream = LogStream.STDOUT) -> list[LogPart]:
    return [LogPart(stream, 0, text) for text in texts]


def test_lines_are_put_together_each_stream_for_itself() -> None:
    lines = Lines()
    told = [*lines.take(parts(b"on", b"e\r\ntw")), *lines.take(parts(b"err", stream=LogStream.STDERR))]
    told += [*lines.take(parts("ö\nthree".encode()[:1], "ö\nthree".encode()[1:]))]

    assert told == ["one", "twö"]
    assert list(lines.end()) == ["three", "err"]


def test_a_gap_ends_a_line_and_a_line_has_an_end() -> None:
    lines = Lines()

    assert list(lines.take([*parts(b"begun"), LogPart(LogStream.STDOUT, 5, b"", gap=7), *parts(b"more\n")])) == [
        *("begun", "more")
    ]
    assert [len(line) for line in lines.take(parts(b"x" * (LONGEST_LINE + 1), b"\n"))] == [LONGEST_LINE, 1]


# --- what is asked and read -----------------------------------------------------------------------------------------


def test_a_filter_may_name_statuses_as_text() -> None:
    request = list_request(TaskFilter(statuses=["failed"], labels={"a": "b"}, q="x"), left=5, page_token="")

    assert list(request.statuses) == [task_pb2.TASK_STATUS_FAILED]
    assert (dict(request.labels), request.q, request.page_size) == ({"a": "b"}, "x", 5)
    with pytest.raises(InvalidTask, match="use some of"):
        list_request(TaskFilter(statuses=["broken"]), left=5, page_token="")


def test_durations_may_be_timedeltas() -> None:
    assert new_task("echo", timeout=timedelta(seconds=1.5)).spec.timeout_ms == 1_500
    assert clean_up_request("7d").older_than.seconds == 604_800


def test_figures_are_read_as_they_are_told() -> None:
    since = datetime(2030, 1, 1, tzinfo=UTC)
    request = stats_request(by="pool", since=since, until=None, step="5m")
    group = admin_pb2.StatsGroup(
        key="p", created=3, finished={"completed": 2}, run_seconds=admin_pb2.StatsDurations(count=2, p50=0.5)
    )
    told = admin_pb2.GetStatsResponse(buckets=[admin_pb2.StatsBucket(groups=[group])])
    told.step.seconds = 300
    told.now.live["pending"] = 1
    stats = stats_of(told)

    assert (request.by, request.step.seconds, request.HasField("to")) == ("pool", 300, False)
    assert getattr(request, "from").seconds == since.timestamp()
    (read,) = stats.buckets[0].groups
    assert (read.key, read.created, read.finished, read.run_seconds.p50) == ("p", 3, {"completed": 2}, 0.5)
    assert (stats.step_ms, stats.now.live) == (300_000, {"pending": 1})
    status = scheduler_status_of(admin_pb2.GetSchedulerStatusResponse(state="running", queue_by_priority={"HIGH": 2}))
    assert (status.state, status.queue_by_priority, status.last_checkpoint_at) == ("running", {"HIGH": 2}, None)
