"""`python -m benchmarks`: durable tasks end to end, beside the raw limits of the same machine and beside peers.

Prints one table of figures and ratios. Ratios can be compared between machines, figures cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import backlog, blobs, database
from benchmarks.arguments import is_standard, parse, sizes_of
from benchmarks.compare import comparison
from benchmarks.machine import ROOT, machine
from benchmarks.peers.installed import missing, versions
from benchmarks.peers.table import PEERS
from benchmarks.quiet import listen
from benchmarks.ratios import values_of
from benchmarks.results import Earlier, NoResults, as_json, read, write
from benchmarks.runner import Run, run_rounds
from benchmarks.suites import ROUNDS, NothingChosen, chosen, full, quick
from benchmarks.table import table

MAINS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "database": database.main,
    "backlog": backlog.main,
    "blobs": blobs.main,
}
KEPT = ROOT / "benchmarks" / "results"
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. 1: a measurement broke; a peer that cannot be installed is only named."""
    given = parse(argv)
    if given.mode in MAINS:
        return MAINS[given.mode](["--directory", str(given.directory)] if given.directory else [])
    try:
        earlier = read(given.compare) if given.compare else None  # before the minutes that measuring takes
        return _suite(given, earlier)
    except (NoResults, NothingChosen) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _suite(given: argparse.Namespace, earlier: Earlier | None) -> int:
    sizes = sizes_of(given)
    run = Run(chosen(full(sizes) if given.mode == "full" else quick(sizes), given.only))
    asyncio.run(_measure(run, given.rounds or ROUNDS, given.directory))
    sys.stdout.write(table(run) + "\n")
    if earlier:
        changes = comparison(earlier, values_of(run.medians), is_quiet=run.is_quiet)
        sys.stdout.write(f"\n{changes}\n")
    results = as_json(run, suite=given.mode, machine={**machine(), "peers": versions()})
    for path in (given.json, KEPT / f"{given.mode}.json" if is_standard(given) else None):
        if path:
            write(path, results)
    return 1 if run.failed else 0


async def _measure(run: Run, rounds: int, directory: Path | None) -> None:
    names = {one.name for one in run.measurements}
    peers = [peer for peer in PEERS if peer.name in names]
    lacking = await missing([part for peer in peers for part in peer.parts])
    whys = {peer.name: [lacking[part] for part in peer.parts if part in lacking] for peer in peers}
    run.not_measured |= {name: "; ".join(why) for name, why in whys.items() if why}
    here = asyncio.current_task()
    assert here is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)  # what was started is ended then, too
    await run_rounds(run, rounds=rounds, parent=directory, listen=listen, tell=_tell)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


if __name__ == "__main__":
    sys.exit(main())
