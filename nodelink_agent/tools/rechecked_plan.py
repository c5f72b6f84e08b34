"""Plans of a tool that writes none, as Ansible: a plan is what a check says, and is applied if one says the same again.

Standard library only, as all that a step needs.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from nodelink_agent.tools.calls import Calls
from nodelink_agent.tools.order import Order, Refusal
from nodelink_agent.tools.plan_file import PlanFile, lasting, plan_of

MAX_TOLD_LENGTH = 2_000


def make_rechecked(order: Order, calls: Calls, directory: Path) -> tuple[int, PlanFile]:
    """The exit code of a check, and the plan that it is, if that is 0."""
    code, said = calls.read(order.check)
    return code, plan_of(order.tool, order.inputs, lasting(said.decode(errors="replace"), str(directory)))


def apply_rechecked(order: Order, approved: PlanFile, calls: Calls, directory: Path) -> int:
    """The exit code of the apply. `Refusal`: it was not begun, because a check fails, or says anything else."""
    code, now = make_rechecked(order, calls, directory)
    if code != 0:
        raise Refusal(f"the check before it failed with exit code {code}")
    if now.output != approved.output:
        raise Refusal(f"the target has changed since the plan\n{_difference(approved, now)}")
    return calls.run(order.apply)


def _difference(approved: PlanFile, now: PlanFile) -> str:
    lines = difflib.unified_diff(
        approved.output.splitlines(), now.output.splitlines(), "the plan", "what a check says now", n=1, lineterm=""
    )
    text = "\n".join(lines)
    return text if len(text) <= MAX_TOLD_LENGTH else text[:MAX_TOLD_LENGTH] + "…"
