"""What an agent has to know of a tool that plans and applies: which program it is, and how it is called.

A runner only says which words to call. The calls are made by `step`, in a process that a spawner holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodelink.plan_payload import PlanPayload


@dataclass(frozen=True, slots=True)
class ToolFiles:
    """Where an attempt has what a tool works on. All of it lies in the attempt's own directory.

    `source`: the directory it runs in; `playbook`, `inventory`: files; `variables`: a file that only the agent's user
    may read, since there may be secrets in it; `scratch`: for the tool's own files.
    """

    source: Path
    playbook: Path
    inventory: Path
    variables: Path
    scratch: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """One tool. `program` is looked up in the agent's PATH. `check` finds out and does nothing, `apply` does it;
    both are what follows the program. `environment` is added to the command's.
    """

    name: str
    program: str
    default_inventory: str
    check: Callable[[PlanPayload, ToolFiles], Sequence[str]]
    apply: Callable[[PlanPayload, ToolFiles], Sequence[str]]
    environment: Callable[[ToolFiles], Mapping[str, str]]
