"""The process that makes a plan or applies one, as a spawner's command: it outlives the agent and ends as a whole.

An apply is of the plan that was approved, or changes nothing. Whatever it refuses is in the file `refused`, for people.
Standard library only, for it is started without the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nodelink_agent.tools.calls import Calls
from nodelink_agent.tools.order import APPROVED, PLAN, REFUSED, Order, Refusal, read_order
from nodelink_agent.tools.plan_file import read_plan_file
from nodelink_agent.tools.rechecked_plan import apply_rechecked, make_rechecked
from nodelink_agent.tools.saved_plan import apply_saved, make_saved

EX_REFUSED = 65


def run_step(directory: Path) -> int:
    """Do what the order in a directory says. Returns the exit code."""
    order, calls = read_order(directory), Calls()
    calls.heed()
    try:
        return _apply(order, calls, directory) if order.apply else _plan(order, calls, directory)
    except Refusal as refusal:
        why = f"nothing was applied: {refusal}" if order.apply else str(refusal)
        (directory / REFUSED).write_text(why, encoding="utf-8")
        sys.stderr.write(f"{why}\n")
        return EX_REFUSED
    finally:
        for path in order.secrets:
            Path(path).unlink(missing_ok=True)


def _plan(order: Order, calls: Calls, directory: Path) -> int:
    code, plan = make_saved(order, calls) if order.file else make_rechecked(order, calls, directory)
    if code != 0 or plan is None:
        return code
    path = directory / PLAN
    path.with_suffix(".new").write_bytes(plan.to_bytes())
    path.with_suffix(".new").rename(path)  # it is there as a whole, or not at all
    return 0


def _apply(order: Order, calls: Calls, directory: Path) -> int:
    approved = read_plan_file((directory / APPROVED).read_bytes())
    if order.file:
        return apply_saved(order, approved, calls)
    return apply_rechecked(order, approved, calls, directory)


if __name__ == "__main__":
    sys.exit(run_step(Path(sys.argv[1])))
