"""What a plan is: what somebody's change would do, found out without doing it, and named by a digest.

A plan travels as its digests, its target and a summary; its bytes are kept elsewhere, by their digest.
"""

from __future__ import annotations

from typing import NamedTuple

PLAN, APPLY, PLAN_AND_APPLY = "plan", "apply", "plan_and_apply"
PLANNING = frozenset({PLAN, PLAN_AND_APPLY})
"""The types whose first, or only, phase makes a plan."""
APPLYING = frozenset({APPLY, PLAN_AND_APPLY})
"""The types that change something."""
PLANNED = PLANNING | APPLYING
DEFAULT_PLAN_LIMIT = 3
"""How many plans an agent makes at a time unless it says otherwise."""


class Plan(NamedTuple):
    """One plan. `sha256`: of its bytes, of which there are `size`; `inputs_sha256`: of all that it was made from; both
    in hexadecimal. `target`: what it would change; `summary`: what it would do, for people.
    """

    sha256: str
    size: int = 0
    inputs_sha256: str = ""
    target: str = ""
    summary: str = ""


def is_planning(type: str, *, has_plan: bool) -> bool:
    """Whether a task of a type makes a plan now. `has_plan`: it has one."""
    return type in PLANNING and not has_plan


def is_applying(type: str, *, has_plan: bool) -> bool:
    """Whether a task of a type changes something now. `has_plan`: it has a plan, which was approved."""
    return type == APPLY or (type == PLAN_AND_APPLY and has_plan)
