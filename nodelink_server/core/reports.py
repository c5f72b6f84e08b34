"""Statistics as they are asked for: what the database has added up, and what is not in it yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.accounts import Accounts
from nodelink_server.core.channel import ResponseChannel
from nodelink_server.core.lookup import Lookup
from nodelink_server.core.ports import Clock, Store
from nodelink_server.core.statistics import (
    HOUR_MS,
    MINUTE_MS,
    MOST_BUCKETS,
    Counts,
    Durations,
    Stats,
    StatsBucket,
    StatsGroup,
    StatsLevels,
    StatsQuery,
    StatsRange,
    check_groups,
)
from nodelink_server.core.tally import Buckets, Tally

LATEST_MS = 253_402_300_800_000
"""The first moment of the year 10000, which no calendar of ours can write."""


class Reports:
    """Answers questions about what was done."""

    def __init__(
        self,
        *,
        store: Store,
        accounts: Accounts,
        lookup: Lookup,
        clock: Clock,
        channel: ResponseChannel,
        tally: Tally,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._lookup = lookup
        self._clock = clock
        self._channel = channel
        self._tally = tally

    async def stats(self, query: StatsQuery) -> Stats:
        """What was done over a time, and how things stand.

        Raises `InvalidTask`, which names the wrong field, and `StoreUnavailable`.
        """
        wanted = range_of(query, now=self._clock.now())
        found = await self._found(wanted)
        buckets: dict[int, list[StatsGroup]] = defaultdict(list)
        for (start, key), counts in sorted(found.items()):
            buckets[start].append(group_of(key, counts))
        return Stats(
            since=wanted.since,
            until=wanted.until,
            step_ms=wanted.step_ms,
            buckets=[StatsBucket(start=start, groups=groups) for start, groups in buckets.items()],
            now=await self._levels(),
        )

    async def _found(self, wanted: StatsRange) -> dict[tuple[int, str], Counts]:
        """What was counted, by bucket and group.

        Rows that are not written yet are taken from memory, whatever an older value of them the database has. Which
        rows these are is settled before it is asked: some may be written meanwhile.
        """
        unwritten = [row for row in self._accounts.unwritten() if wanted.since <= row.key.start < wanted.until]
        without = frozenset(row.key for row in unwritten)
        found = dict(await self._store.statistics(wanted.leaving_out(without)))
        for key, counts in unwritten:
            place = wanted.bucket(key.start), wanted.group(key.type, key.pool, key.agent_id)
            found.setdefault(place, Counts()).add(counts)
            check_groups(len(found))
        return found

    async def _levels(self) -> StatsLevels:
        by_status: dict[str, int] = defaultdict(int)
        for (status, _), count in (await self._lookup.counts()).items():
            by_status[status] += count
        return StatsLevels(
            live=dict(by_status),
            response_channel_depth=self._channel.depth,
            response_channel_capacity=self._channel.capacity,
            response_channel_full=self._tally.channel_full,
            cleanup_runs=self._tally.cleanup_runs,
            cleanup_removed=self._tally.cleanup_removed,
        )


# -- what is asked for ------------------------------------------------------------------------------------------------


def range_of(query: StatsQuery, *, now: int) -> StatsRange:
    """Which rows a query is about: whole minutes, the one that is not over included. Raises `InvalidTask`."""
    errors = list(_wrong_moments(query))
    if errors:
        raise InvalidTask(*errors)
    until = _minute(now) + MINUTE_MS if query.until is None else _minute(query.until + MINUTE_MS - 1)
    since = until - HOUR_MS if query.since is None else _minute(query.since)
    if since >= until:
        raise InvalidTask(FieldError("from", "must be before `to`, which is now if it is left out"))
    step = until - since if query.step_ms is None else query.step_ms
    if step < MINUTE_MS or step % MINUTE_MS:
        raise InvalidTask(FieldError("step", "must be a whole number of minutes, at least 1m"))
    if (until - since + step - 1) // step > MOST_BUCKETS:
        least = -(-(until - since) // MOST_BUCKETS // MINUTE_MS)
        raise InvalidTask(FieldError("step", f"makes more than {MOST_BUCKETS} buckets; it must be at least {least}m"))
    return StatsRange(since=since, until=until, step_ms=step, by=query.by)


def _wrong_moments(query: StatsQuery) -> Iterator[FieldError]:
    for field, moment in (("from", query.since), ("to", query.until)):
        if moment is not None and not 0 <= moment < LATEST_MS:
            yield FieldError(field, "must be a moment between the years 1970 and 9999")


def _minute(moment: int) -> int:
    """The minute in which a moment lies."""
    return moment // MINUTE_MS * MINUTE_MS


# -- what is answered -------------------------------------------------------------------------------------------------


def group_of(key: str, counts: Counts) -> StatsGroup:
    """Counts as they are shown."""
    return StatsGroup(
        key=key,
        created=counts.created,
        finished=dict(sorted(counts.finished.items())),
        queue_seconds=durations_of(counts.queue),
        run_seconds=durations_of(counts.run),
        total_seconds=durations_of(counts.total),
        assigned=counts.assigned,
        returned=counts.returned,
    )


def durations_of(histogram: Buckets) -> Durations:
    """What a histogram tells of the durations that it has counted."""
    count = sum(histogram.counts)
    if not count:
        return Durations()
    return Durations(
        count=count,
        mean=histogram.sum / count,
        p50=quantile(histogram, 0.5),
        p99=quantile(histogram, 0.99),
    )


def quantile(histogram: Buckets, share: float) -> float:
    """The value that so large a share of the values does not exceed.

    Values are taken to be spread evenly within a bucket. Beyond the last bound nothing is known but the bound.
    """
    left, lower = share * sum(histogram.counts), 0.0
    for upper, count in zip(histogram.bounds, histogram.counts, strict=False):
        if count and left <= count:
            return lower + (upper - lower) * left / count
        left, lower = left - count, upper
    return lower
