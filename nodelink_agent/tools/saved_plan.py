"""Plans of a tool that keeps them in files of its own, as Terraform: what is applied is that file, and no other.

The tool itself refuses a file that was made from another state. Standard library only, as all that a step needs.
"""

from __future__ import annotations

import re
from pathlib import Path

from nodelink_agent.tools.calls import Calls
from nodelink_agent.tools.order import Order, Refusal
from nodelink_agent.tools.plan_file import PlanFile, PlanUnreadable, packed

NO_CHANGES, CHANGES = 0, 2
"""How a check ends that has made a plan: `-detailed-exitcode`."""
MAX_FILE_BYTES = 64 * 1024 * 1024

_COUNTS = re.compile(r"^Plan: (.+)\.$", re.MULTILINE)
_FOREIGN_BACKEND = re.compile(rb"initialization required", re.IGNORECASE)


def make_saved(order: Order, calls: Calls) -> tuple[int, PlanFile | None]:
    """The exit code of what was run last, and the plan, if that is 0."""
    code = calls.run(order.init)
    if code != 0:
        return code, None
    code, errors = calls.read_errors(order.check)
    if code not in {NO_CHANGES, CHANGES}:
        _look_for_backend(errors)
        return code, None
    shown, said = calls.read(order.show, quietly=True)
    if shown != 0:
        return shown, None
    return 0, _plan(order, said.decode(errors="replace").strip() + "\n", changes=code == CHANGES)


def apply_saved(order: Order, approved: PlanFile, calls: Calls) -> int:
    """The exit code of the apply. `Refusal`: it was not begun."""
    path = Path(order.file)
    path.touch(mode=0o600)
    try:
        path.write_bytes(approved.unpacked())
    except PlanUnreadable as error:
        raise Refusal(str(error)) from error
    code = calls.run(order.init)
    if code != 0:
        raise Refusal(f"the tool could not be made ready: it ended with exit code {code}")
    return calls.run(order.apply)


def _look_for_backend(errors: bytes) -> None:
    """`Refusal`, in clearer words than the tool's own."""
    if _FOREIGN_BACKEND.search(errors):
        raise Refusal("the source names a backend of its own: leave that out, for the state is that of the workspace")


def _plan(order: Order, output: str, *, changes: bool) -> PlanFile:
    path = Path(order.file)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Refusal(f"the plan has more than {MAX_FILE_BYTES} bytes")
    counts = _COUNTS.search(output)
    summary = counts[1] if counts else "changes to outputs alone" if changes else "no changes"
    return PlanFile(
        tool=order.tool,
        inputs=order.inputs,
        output=output,
        target=order.target,
        summary=summary,
        file=packed(path.read_bytes()),
        state=order.state,
    )
