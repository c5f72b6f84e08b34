"""What a step is told to do, and the names by which it and its handler leave things for each other.

Standard library only, as all that a step needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ORDER, PLAN, APPROVED, REFUSED = "order.json", "plan.json", "approved.json", "refused"
"""Files of a step's directory: what it is to do, the plan it has made, the one it is to apply, why it did not."""


class Refusal(Exception):
    """The step goes no further, for a reason that people should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one step is to do. `check`, `apply`: whole commands; apply empty: a plan is to be made.

    `secrets`: files that are removed at the end. The rest is for a tool that keeps a plan in a `file` of its own:
    `init` makes it ready, `show` tells people what is in the file, `target` is what is changed, `state` the SHA-256 of
    the state that a plan is made from.
    """

    tool: str
    inputs: Mapping[str, str]
    check: Sequence[str]
    apply: Sequence[str]
    secrets: Sequence[str]
    file: str = ""
    init: Sequence[str] = ()
    show: Sequence[str] = ()
    target: str = ""
    state: str = ""

    def write(self, directory: Path) -> None:
        """Leave it where the step looks for it."""
        (directory / ORDER).write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_order(directory: Path) -> Order:
    """The order that was left there."""
    return Order(**json.loads((directory / ORDER).read_text(encoding="utf-8")))
