"""The process that makes a plan or applies one, as a spawner's command: it outlives the agent and ends as a whole.

An apply checks once more before anything is changed, and changes nothing unless the check says what the plan says.
Whatever it refuses is in the file `refused`, for people. Standard library only, for it is started without the rest.
"""

from __future__ import annotations

import difflib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nodelink_agent.tools.plan_file import PlanFile, lasting, plan_of, read_plan_file

ORDER, PLAN, APPROVED, REFUSED = "order.json", "plan.json", "approved.json", "refused"
"""Files of a step's directory: what it is to do, the plan it has made, the one it is to apply, why it did not."""
EX_REFUSED = 65
MAX_CHECK_BYTES = 16 * 1024 * 1024
"""What a check may say. Beyond it, nobody would read the plan."""
MAX_TOLD_LENGTH = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one step is to do. `check`, `apply`: whole commands; apply empty: a plan is to be made.

    `secrets`: files that are removed at the end.
    """

    tool: str
    inputs: Mapping[str, str]
    check: Sequence[str]
    apply: Sequence[str]
    secrets: Sequence[str]

    def write(self, directory: Path) -> None:
        """Leave it where the step looks for it."""
        (directory / ORDER).write_text(json.dumps(asdict(self)), encoding="utf-8")


class Refusal(Exception):
    """The step goes no further, for a reason that people should know."""


class Step:
    """One step, in its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._order = Order(**json.loads((directory / ORDER).read_text(encoding="utf-8")))
        self._is_stopped = False

    def run(self) -> int:
        """Do it. Returns the exit code."""
        # The tool gets the signal as well, being of the same tree. This process waits for it, and starts nothing more.
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            return self._apply() if self._order.apply else self._plan()
        except Refusal as refusal:
            (self._directory / REFUSED).write_text(str(refusal), encoding="utf-8")
            sys.stderr.write(f"{refusal}\n")
            return EX_REFUSED
        finally:
            for path in self._order.secrets:
                Path(path).unlink(missing_ok=True)

    def _plan(self) -> int:
        code, plan = self._check()
        if code != 0:
            return code
        path = self._directory / PLAN
        path.with_suffix(".new").write_bytes(plan.to_bytes())
        path.with_suffix(".new").rename(path)  # it is there as a whole, or not at all
        return 0

    def _apply(self) -> int:
        approved = read_plan_file((self._directory / APPROVED).read_bytes())
        code, now = self._check()
        if code != 0:
            raise Refusal(f"nothing was applied: the check before it failed with exit code {code}")
        if now.output != approved.output:
            raise Refusal(f"nothing was applied: the target has changed since the plan\n{_difference(approved, now)}")
        if self._is_stopped:
            raise Refusal("nothing was applied: a stop was asked for before")
        return _code_of(subprocess.run(self._order.apply, check=False).returncode)  # noqa: S603 - the task's own

    def _check(self) -> tuple[int, PlanFile]:
        with subprocess.Popen(self._order.check, stdout=subprocess.PIPE) as process:  # noqa: S603 - the task's own
            said = self._pass_on(process)
        output = lasting(said.decode(errors="replace"), str(self._directory))
        return _code_of(process.returncode), plan_of(self._order.tool, self._order.inputs, output)

    def _pass_on(self, process: subprocess.Popen[bytes]) -> bytes:
        """What a check says, which is also the step's own output."""
        if process.stdout is None:
            raise RuntimeError("its output goes elsewhere")
        said = bytearray()
        while piece := os.read(process.stdout.fileno(), 65_536):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            said += piece
            if len(said) > MAX_CHECK_BYTES:
                process.kill()
                raise Refusal(f"the check says more than {MAX_CHECK_BYTES} bytes, and so would the plan")
        return bytes(said)

    def _stop(self, _number: int, _frame: object) -> None:
        self._is_stopped = True


def _code_of(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _difference(approved: PlanFile, now: PlanFile) -> str:
    lines = difflib.unified_diff(
        approved.output.splitlines(), now.output.splitlines(), "the plan", "what a check says now", n=1, lineterm=""
    )
    text = "\n".join(lines)
    return text if len(text) <= MAX_TOLD_LENGTH else text[:MAX_TOLD_LENGTH] + "…"


if __name__ == "__main__":
    sys.exit(Step(Path(sys.argv[1])).run())
