"""Many seeds on many cores, and what each of them found. Also with mutants, each to its first catch."""

from __future__ import annotations

import gc
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

import structlog

from tests.checking.checker import check
from tests.checking.gates import Counts, breaches, count
from tests.checking.rule import Violation
from tests.simulation.gates import GATES, LEAST_TASKS
from tests.simulation.mutants import MUTANTS, Mutant, simulate_with

SEEDS_PER_CHUNK = 20


@dataclass(frozen=True, slots=True)
class Found:
    """What one seed came to."""

    seed: int
    violations: Sequence[Violation] = ()
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Catch:
    """How a mutant was caught: by the so-manieth seed, by a rule or a gate. `seeds` None: it was not."""

    mutant: str
    seeds: int | None
    by: str = ""
    what: str = ""


def run_seed(seed: int, mutant: Mutant | None = None) -> Found:
    """Live through one seed, and judge it."""
    try:
        history = simulate_with(seed, mutant or Mutant())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this seed has found
        return Found(seed, [Violation("a_run_comes_to_its_end", repr(error))])
    return Found(seed, check(history), count(history))


def run_seeds(first: int, number: int, *, jobs: int) -> Iterator[Found]:
    """Live through many seeds, on so many cores. They come as they are done."""
    starts = iter(range(first, first + number, SEEDS_PER_CHUNK))
    with _workers(jobs) as pool:
        under_way: set[Future[list[Found]]] = set()
        while True:
            while len(under_way) < 2 * jobs and (start := next(starts, None)) is not None:
                under_way.add(pool.submit(_run_chunk, start, min(SEEDS_PER_CHUNK, first + number - start)))
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def catch_mutants(names: Sequence[str], *, first: int, most: int, jobs: int) -> Iterator[Catch]:
    """Have each mutant run until it is caught, or has had so many seeds. They come as they are done."""
    with _workers(jobs) as pool:
        under_way = {pool.submit(catch_mutant, name, first=first, most=most) for name in names}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def catch_mutant(name: str, *, first: int, most: int) -> Catch:
    """Have one mutant run until it is caught, or has had so many seeds."""
    total = Counts()
    for seed in range(first, first + most):
        found = run_seed(seed, MUTANTS[name])
        if found.violations:
            rule, what = found.violations[0]
            return Catch(name, seed - first + 1, rule, what)
        total.add(found.counts)
        for breach in breaches(total, GATES) if total.tasks >= LEAST_TASKS else ():
            return Catch(name, seed - first + 1, "a gate", breach)
    return Catch(name, None)


def _run_chunk(first: int, number: int) -> list[Found]:
    return [run_seed(seed) for seed in range(first, first + number)]


def _workers(jobs: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=prepare)


def prepare() -> None:
    """Get a process ready for many seeds."""
    be_quiet()
    collect_seldom()


def collect_seldom() -> None:
    """Look for garbage among what runs leave only, and not after every few objects: that takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def be_quiet() -> None:
    """Say nothing: a seed that fails is replayed with `-v`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
