"""Questions about what was done: which are understood, and what is estimated."""

from __future__ import annotations

import asyncio
import random

import pytest

from nodelink.errors import InvalidTask
from nodelink_server.core.reports import durations_of, quantile, range_of
from nodelink_server.core.statistics import HOUR_MS, MINUTE_MS, Grouping, StatsQuery
from nodelink_server.core.tally import SECONDS, Buckets
from tests.support.clock import EPOCH_MS
from tests.support.core_parts import make_submission, running_core
from tests.support.fake_agent import FakeAgent

NOW = EPOCH_MS // MINUTE_MS * MINUTE_MS + 20_000
MINUTE_BEHIND = NOW - 20_000 + MINUTE_MS


def histogram(values: list[float]) -> Buckets:
    made = Buckets()
    for value in values:
        made.observe(value)
    return made


def test_without_a_time_it_is_the_last_hour_with_the_minute_that_is_not_over() -> None:
    asked = range_of(StatsQuery(), now=NOW)

    assert (asked.since, asked.until) == (MINUTE_BEHIND - HOUR_MS, MINUTE_BEHIND)
    assert asked.step_ms == HOUR_MS


def test_times_are_rounded_to_the_minutes_that_hold_them() -> None:
    asked = range_of(StatsQuery(since=90_001, until=150_001, step_ms=MINUTE_MS), now=NOW)

    assert (asked.since, asked.until) == (MINUTE_MS, 3 * MINUTE_MS)


@pytest.mark.parametrize(
    "field, query",
    [
        ("from", StatsQuery(since=NOW, until=NOW - MINUTE_MS)),
        ("from", StatsQuery(since=NOW + HOUR_MS)),
        ("from", StatsQuery(since=-1)),
        ("to", StatsQuery(until=-1)),
        ("to", StatsQuery(until=10**18)),
        ("step", StatsQuery(step_ms=0)),
        ("step", StatsQuery(step_ms=-MINUTE_MS)),
        ("step", StatsQuery(step_ms=90_000)),
        ("step", StatsQuery(since=NOW - 1_501 * MINUTE_MS, step_ms=MINUTE_MS)),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_the_name_of_its_field(field: str, query: StatsQuery) -> None:
    with pytest.raises(InvalidTask) as refused:
        range_of(query, now=NOW)

    assert [error.field for error in refused.value.errors] == [field]


def test_a_step_that_is_too_short_is_refused_with_one_that_would_do() -> None:
    since = MINUTE_BEHIND - 3_001 * MINUTE_MS
    with pytest.raises(InvalidTask, match="at least 3m"):
        range_of(StatsQuery(since=since, step_ms=2 * MINUTE_MS), now=NOW)

    assert range_of(StatsQuery(since=since, step_ms=3 * MINUTE_MS), now=NOW).step_ms == 3 * MINUTE_MS


@pytest.mark.parametrize("seed", range(20))
def test_a_quantile_is_never_further_off_than_its_bucket_is_wide(seed: int) -> None:
    chance = random.Random(seed)
    values = sorted(10 ** chance.uniform(-3, 3.8) for _ in range(chance.randrange(1, 500)))
    buckets = histogram(values)

    for share in (0.5, 0.99):
        true = values[-int(-share * len(values) // 1) - 1]
        bounds = [0.0, *SECONDS]
        width = min(upper - lower for lower, upper in zip(bounds, SECONDS, strict=False) if lower < true <= upper)
        assert abs(quantile(buckets, share) - true) <= width


def test_values_within_a_bucket_are_taken_to_be_spread_evenly() -> None:
    assert quantile(histogram([0.6] * 10), 0.5) == pytest.approx(0.75)


def test_beyond_the_last_bound_only_the_bound_is_known() -> None:
    assert quantile(histogram([9_000.0, 90_000.0]), 0.5) == 7_200


def test_where_nothing_was_measured_everything_is_zero() -> None:
    empty = durations_of(Buckets())

    assert (empty.count, empty.mean, empty.p50, empty.p99) == (0, 0.0, 0.0, 0.0)


async def test_a_server_tells_what_was_done_and_how_things_stand() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, slots=2)
        await agent.connect()
        await core.submit(make_submission(), make_submission(), make_submission(pool="elsewhere"))
        await agent.finish((await agent.task(0)).ref)
        await agent.task(1)

        stats = await core.manager.stats(StatsQuery(by=Grouping.POOL))

        [bucket] = stats.buckets
        groups = {group.key: group for group in bucket.groups}
        assert {key: group.created for key, group in groups.items()} == {"default": 2, "elsewhere": 1}
        assert dict(groups["default"].finished) == {"completed": 1}
        assert groups["default"].assigned == 2
        assert stats.now.live == {"sent": 1, "pending": 1}
        assert stats.now.response_channel_capacity == 100


async def test_an_idle_server_writes_no_statistics() -> None:
    async with running_core() as core:
        await core.submit()
        await asyncio.sleep(3)
        [kept] = core.database.disk.minutes.values()
        await asyncio.sleep(300)

        assert list(core.database.disk.minutes.values()) == [kept]


async def test_a_good_end_writes_what_was_counted_last() -> None:
    async with running_core() as core:
        await asyncio.sleep(1.5)
        await core.submit(*[make_submission() for _ in range(7)])
        assert not core.database.disk.minutes

    assert sum(counts.created for counts in core.database.disk.minutes.values()) == 7


async def test_what_a_failing_database_did_not_take_goes_with_the_next_commit() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.failing.add("apply")
        await asyncio.sleep(5)
        core.database.failing.clear()
        await asyncio.sleep(2)

        assert sum(counts.created for counts in core.database.disk.minutes.values()) == 1


async def test_an_end_does_not_wait_for_a_database_that_is_away() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.failing.add("apply")
        ending_at = core.clock.monotonic()

    assert core.clock.monotonic() - ending_at < 0.1
    assert not core.database.disk.minutes


async def test_an_end_does_not_wait_for_ever_for_a_database_that_hangs() -> None:
    async with running_core() as core:
        await core.submit()
        core.database.hold("apply")

    assert not core.database.disk.minutes


async def test_old_statistics_are_swept_while_the_server_runs() -> None:
    async with running_core() as core:
        await core.submit()
        await asyncio.sleep(2)
        core.clock.skew_ms += 60 * HOUR_MS
        await asyncio.sleep(310)

        assert not core.database.disk.minutes
        assert sum(counts.created for counts in core.database.disk.hours.values()) == 1
