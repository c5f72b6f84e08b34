"""What an agent has to know of a tool that plans and applies: which program it is, and how it is called.

A runner only says which words to call. The calls are made by `step`, in a process that a spawner holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodelink.plan_payload import PlanPayload

STATE_NAME = "terraform.tfstate"
"""The file, where it runs, in which a tool that has a state keeps it."""


@dataclass(frozen=True, slots=True)
class ToolFiles:
    """Where an attempt has what a tool works on. All of it lies in the attempt's own directory.

    `source`: the directory of what was given, and `place` the one within it where the tool runs; `main`, `inventory`:
    files; `variables`: a file that only the agent's user may read, since there may be secrets in it; `scratch`: for the
    tool's own files; `settings`: an empty file; `plan`: where a tool writes its plan.
    """

    source: Path
    place: Path
    main: Path
    inventory: Path
    variables: Path
    scratch: Path
    settings: Path
    plan: Path

    @property
    def state(self) -> Path:
        """What the tool remembers, if it does."""
        return self.place / STATE_NAME


Words = Callable[[PlanPayload, ToolFiles], Sequence[str]]
"""What follows the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """One tool. `program` is looked up in the agent's PATH. `check` finds out and does nothing, `apply` does it.

    `environment` is added to the command's. `text_name`: the file that the text of a payload becomes. A tool that
    writes its plan into a file of its own has a `show`, which says what is in that, and is made ready by `init`.
    """

    name: str
    program: str
    text_name: str
    check: Words
    apply: Words
    environment: Callable[[ToolFiles], Mapping[str, str]]
    default_inventory: str = ""
    init: Words | None = None
    show: Words | None = None
