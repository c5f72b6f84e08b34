"""The bytes of a plan: what a check said, and of what it was made. Standard library only: `step` writes them.

A plan is read by people before they approve it, so it is JSON, and holds digests of what may be secret. Only a tool's
own `file` holds whatever the tool has put into it.
"""

from __future__ import annotations

import base64
import binascii
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
    """A plan. `inputs`: the SHA-256 of each thing it was made from, by name; `output`: what the check said.

    `file`: the plan that the tool itself has written, packed; empty: it writes none. `state`: the SHA-256 of the state
    that it was made from; empty: there was none.
    """

    tool: str
    inputs: Mapping[str, str]
    output: str
    target: str
    summary: str
    file: str = ""
    state: str = ""

    def to_bytes(self) -> bytes:
        """As they are stored: the same plan, the same bytes."""
        words = asdict(self)
        for name in ("file", "state"):
            if not words[name]:
                del words[name]  # as agents have it that know of no files
        return json.dumps({"format": FORMAT, **words}, sort_keys=True, indent=1, ensure_ascii=False).encode()

    def unpacked(self) -> bytes:
        """The bytes of the tool's own file. Raises `PlanUnreadable`."""
        try:
            found = base64.b64decode(self.file, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise PlanUnreadable("the tool's own plan within these bytes is not whole") from error
        if not found:
            raise PlanUnreadable("the tool's own plan is not within these bytes")
        return found


def packed(file: bytes) -> str:
    """A tool's own file as it is in a plan."""
    return base64.b64encode(file).decode()


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
