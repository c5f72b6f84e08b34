"""The bytes of a plan: what a check said, and of what it was made. Standard library only: `step` writes them.

A plan is read by people before they approve it, so it is JSON, and holds digests of what may be secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

FORMAT = 1
_RECAP = re.compile(r"^(\S+) +: (ok=\d+.*)$", re.MULTILINE)
_COUNT = re.compile(r"(\w+)=(\d+)")
_FLEETING = re.compile(r"ansible-local-\w+/tmp\w+", re.ASCII)


class PlanUnreadable(ValueError):
    """These bytes are no plan that this agent can apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan. `inputs`: the SHA-256 of each thing it was made from, by name; `output`: what the check said."""

    tool: str
    inputs: Mapping[str, str]
    output: str
    target: str
    summary: str

    def to_bytes(self) -> bytes:
        """As they are stored: the same plan, the same bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, indent=1, ensure_ascii=False).encode()


def read_plan_file(stored: bytes) -> PlanFile:
    """A plan from its bytes. Raises `PlanUnreadable`."""
    try:
        words = json.loads(stored)
        if words.pop("format") != FORMAT:
            raise PlanUnreadable("the plan has a format that this agent does not know")
        return PlanFile(**words)
    except PlanUnreadable:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise PlanUnreadable("these bytes are not a plan") from error


def plan_of(tool: str, inputs: Mapping[str, str], output: str) -> PlanFile:
    """The plan that a check's output is."""
    hosts = {name: dict(_COUNT.findall(counts)) for name, counts in _RECAP.findall(output)}
    changes = {name: int(counts.get("changed", 0)) for name, counts in hosts.items()}
    changing = sum(count > 0 for count in changes.values())
    return PlanFile(
        tool=tool,
        inputs=inputs,
        output=output,
        target=_shortened(", ".join(sorted(hosts))),
        summary=f"{sum(changes.values())} to change, on {changing} of {len(hosts)} hosts",
    )


def lasting(output: str, directory: str) -> str:
    """What a check said, without what differs between two that say the same: `directory` is that of its attempt."""
    return _FLEETING.sub("ansible-local/tmp", output.replace(directory, "."))


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
