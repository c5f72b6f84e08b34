"""`scripts/faults`: kills the processes of a whole NodeLink at random under load, and judges what came of it.

Exit codes: 0 every promise was kept, 1 one was broken or the run did not come to its end, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.clocks import faketime
from tests.faults.disks import may_mount
from tests.faults.load import KINDS, LONGEST
from tests.faults.notes import Note
from tests.faults.rules import Verdict, judge
from tests.faults.runs import Order, Report, run_storm
from tests.faults.storm import Rules
from tests.support.processes import ROOT

SHOWN = frozenset({"injury", "death", "restless", "deed"})
MOST_SHOWN = 20


def main(argv: Sequence[str]) -> int:
    """Run or judge again, as the command line says."""
    options = _parser().parse_args(argv)
    if options.check is not None:
        return 1 if _tell_verdict(judge(options.check)) else 0
    if options.disks and not may_mount():
        _say("--disks: only root can mount small disks")
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    directory = options.save or Path(tempfile.mkdtemp(prefix="nodelink-faults-"))
    _say(f"seed {seed}, commit {_commit()}, everything is kept in {directory}")
    for what, why in _left_out(options):
        _say(f"left out: {what}, {why}")
    order = Order(
        seed=seed,
        rules=Rules(
            kills=options.kills,
            seconds=options.seconds,
            frozen=(0.5, options.longest_fault),
            weather=(0.5, options.longest_fault),
        ),
        agents=options.agents,
        callers=options.callers,
        kinds=options.kinds,
        longest=round(options.longest_task * 10),
        disks=options.disks,
        clocks=options.clocks and faketime() is not None,
    )
    begin = time.monotonic()
    report = asyncio.run(run_storm(order, directory, _progress(begin)))
    _tell(report, time.monotonic() - begin)
    if _tell_verdict(report.verdict):
        _say(f"judge it again: scripts/faults --check {directory}")
        return 1
    if options.save is None:
        shutil.rmtree(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=120, help="how many processes to kill (default: 120)")
    parser.add_argument("--seconds", type=float, help="go on for so long, whatever the number of kills")
    parser.add_argument(
        "--seed", type=int, help="what decides who is hit and when; processes have chances of their own"
    )
    parser.add_argument("--agents", type=int, default=3, help="how many agents (default: 3)")
    parser.add_argument("--callers", type=int, default=20, help="how many tasks are asked for at a time (default: 20)")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="kinds of tasks")
    parser.add_argument(
        "--longest-fault", type=float, default=3.0, help="the longest SIGSTOP and bad weather, in seconds (default: 3)"
    )
    parser.add_argument(
        "--longest-task", type=float, default=LONGEST / 10, help="the longest command, in seconds (default: 5)"
    )
    parser.add_argument("--disks", action="store_true", help="also fill small disks; only root can mount them")
    parser.add_argument(
        "--clocks", action="store_true", help="also set wall clocks; then events have no time, and some rules no answer"
    )
    parser.add_argument("--database", choices=("sqlite",), default="sqlite", help="the server's database")
    parser.add_argument("--save", type=Path, help="a new directory for everything that the run leaves behind")
    parser.add_argument("--check", type=Path, help="judge what an earlier run has left in this directory")
    return parser


def _left_out(options: argparse.Namespace) -> Sequence[tuple[str, str]]:
    """What this run does not do, and why."""
    out = []
    if not options.disks:
        out.append(("full disks", "not asked for (--disks)"))
    if not options.clocks:
        out.append(("jumps of wall clocks", "not asked for (--clocks)"))
    elif faketime() is None:
        out.append(("jumps of wall clocks", "libfaketime is not installed (scripts/tools)"))
    return out


def _progress(begin: float) -> Callable[[Note], None]:
    counts = {"asked": 0, "sight": 0}

    def show(note: Note) -> None:
        kind = note["note"]
        counts["asked"] += kind == "asked"
        if kind in SHOWN:
            words = " ".join(f"{name}={value}" for name, value in note.items() if name not in {"at", "note"})
            _say(f"{time.monotonic() - begin:7.1f} s  {counts['asked']:6d} asked  {kind}: {words}")

    return show


def _tell(report: Report, seconds: float) -> None:
    _say("")
    _say(
        f"{report.kills} kills, {report.asked} tasks asked for, {seconds:.0f} s; "
        f"quiet {report.quiet_seconds:.1f} s after the last"
    )
    for title, counts in (("injury", report.done), ("status", report.statuses)):
        _say(f"\n{title:<24} count")
        for name, count in sorted(counts.items()):
            _say(f"{name:<24} {count:5d}")


def _tell_verdict(verdict: Verdict) -> bool:
    """Show what was broken. Whether anything was."""
    for rule, missing in verdict.skipped:
        _say(f"not asked: {rule} (not known: {', '.join(sorted(missing))})")
    for violation in verdict.violations[:MOST_SHOWN]:
        _say(f"BROKEN {violation.rule}: {violation.what}")
    _say(f"{len(verdict.violations)} violations")
    return bool(verdict.violations)


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
