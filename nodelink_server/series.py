"""Series in Prometheus' forms, each metric of them bounded: what is too many is counted together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodelink_server.core.tally import Buckets

PREFIX = "nodelink_"
MOST_SERIES = 500
"""Series a metric may have. Pools are named by callers, so that what is more is counted together, as `other`."""

OTHER = "other"

_Key = TypeVar("_Key", bound=tuple[str, ...])
_Value = TypeVar("_Value")


class Families(Collector):
    """Metrics made for one reading."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """They, once."""
        return self._families


def gauge(
    name: str,
    about: str,
    labels: Sequence[str],
    values: Mapping[_Key, float],
    *,
    merge: Callable[[Sequence[float]], float] = sum,
) -> Metric:
    """What stands, by labels. `merge` makes one value of those that are too many."""
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in bounded(values, merge).items():
        family.add_metric(key, value)
    return family


def plain_gauge(name: str, about: str, value: float) -> Metric:
    """One number that stands."""
    return GaugeMetricFamily(PREFIX + name, about, value=float(value))


def counter(name: str, about: str, labels: Sequence[str], values: Mapping[_Key, int]) -> Metric:
    """What was counted, by labels. The name is told with `_total` behind it."""
    family = CounterMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in bounded(values, sum).items():
        family.add_metric(key, value)
    return family


def plain_counter(name: str, about: str, value: int) -> Metric:
    """One number that was counted."""
    return CounterMetricFamily(PREFIX + name, about, value=value)


def histogram(name: str, about: str, labels: Sequence[str], values: Mapping[_Key, Buckets]) -> Metric:
    """What was measured, by labels."""
    family = HistogramMetricFamily(PREFIX + name, about, labels=labels)
    for key, buckets in bounded(values, merged).items():
        family.add_metric(key, _cumulative(buckets), buckets.sum)
    return family


def _cumulative(buckets: Buckets) -> list[tuple[str, float]]:
    counts = list(buckets.counts)  # once: the loop goes on counting
    bounds = [*map(str, map(float, buckets.bounds)), "+Inf"]
    return [(bound, float(sum(counts[: index + 1]))) for index, bound in enumerate(bounds)]


def bounded(
    values: Mapping[_Key, _Value], merge: Callable[[Sequence[_Value]], _Value]
) -> dict[tuple[str, ...], _Value]:
    """The first series by age, and everything else as one."""
    found = cast("dict[tuple[str, ...], _Value]", dict(values))  # once and in one go: the loop may add to it meanwhile
    if len(found) <= MOST_SERIES:
        return found
    keys = list(found)
    rest = keys[MOST_SERIES - 1 :]
    kept = {key: found[key] for key in keys[: MOST_SERIES - 1]}
    return {**kept, (OTHER,) * len(rest[0]): merge([found[key] for key in rest])}


def merged(histograms: Sequence[Buckets]) -> Buckets:
    """Several histograms as one."""
    together = Buckets(histograms[0].bounds)
    for one in histograms:
        together.add(one)
    return together
