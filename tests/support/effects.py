"""What tasks do to the world in a run that is checked: each writes a line when it begins, while it goes on, and when it
ends, into a file that NodeLink knows nothing of.

A line is `word token task attempt fence pid boottime number`, appended at once and whole, so that the order of lines is
an order in which things happened; `start` and `stop` are synced before anything else is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nodelink.task import AttemptRef

LOG_NAME = "effects.log"
SCRIPT_NAME = "effect.sh"
TICK_SECONDS = 0.1
LEAST_STEP = 1e-6
SCRIPT = """\
# TOKEN TICKS CODE: begin, go on for so many tenths of a second, end with this code. It prints a line each time.
log=${0%/*}/effects.log token=$1 ticks=$2 code=$3
note() {
    read -r up idle </proc/uptime
    printf '%s %s %s %s %s %s %s %s\\n' \\
        "$1" "$token" "$NODELINK_TASK_ID" "$NODELINK_ATTEMPT" "$NODELINK_FENCE" $$ "$up" "$2" >>"$log"
}
trap '' PIPE  # it goes on though nobody reads what it prints
say() { printf '%s %s line %s\\n' "$NODELINK_TASK_ID" "$NODELINK_ATTEMPT" "$1" 2>/dev/null; }
note start "$ticks"
sync -d "$log"
say 0
n=0
while [ $n -lt "$ticks" ]; do
    sleep 0.1
    n=$((n + 1))
    note tick $n
    say $n
done
note stop "$code"
sync -d "$log"
exit "$code"
"""


@dataclass(slots=True, kw_only=True)
class Effect:
    """One start of a command, as the file tells it.

    `last_at`: when it was last seen to live. `code` None: it did not come to its end.
    """

    token: str
    ref: AttemptRef
    pid: int
    began_at: float
    last_at: float
    code: int | None = None
    ticks: int = 0


class Line(NamedTuple):
    """One line of the file."""

    word: str
    token: str
    ref: AttemptRef
    pid: int
    at: float
    number: int


class Effects:
    """A file of effects, and the command that writes to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    def prepare(self) -> None:
        """Put the command and the empty file in place."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / SCRIPT_NAME).write_text(SCRIPT)
        (self.directory / LOG_NAME).touch()

    def command(self, token: str, *, ticks: int, code: int) -> list[str]:
        """What is to be run."""
        return ["/bin/sh", str(self.directory / SCRIPT_NAME), token, str(ticks), str(code)]

    def read(self) -> Sequence[Effect]:
        """Every start, in the order of their beginnings."""
        return effects_of(lines_in((self.directory / LOG_NAME).read_text()))


def printed(task_id: str, attempt: int, ticks: int) -> bytes:
    """What a command prints that comes to its end."""
    return "".join(f"{task_id} {attempt} line {number}\n" for number in range(ticks + 1)).encode()


def lines_in(text: str) -> Iterator[Line]:
    """The lines, each at a later time than the one before: the clock that they were read from is coarse."""
    last = 0.0
    for line in text.splitlines():
        word, token, task_id, attempt, fence, pid, at, number = line.split()
        last = max(float(at), last + LEAST_STEP)
        yield Line(word, token, AttemptRef(task_id, int(attempt), int(fence)), int(pid), last, int(number))


def effects_of(lines: Iterator[Line]) -> Sequence[Effect]:
    """Lines put together by start. A start under a name that has started already is a start of its own."""
    found: list[Effect] = []
    latest: dict[tuple[AttemptRef, int], Effect] = {}
    for word, token, ref, pid, at, number in lines:
        if word == "start":
            effect = Effect(token=token, ref=ref, pid=pid, began_at=at, last_at=at, ticks=number)
            found.append(effect)
            latest[ref, pid] = effect
            continue
        effect = latest[ref, pid]
        effect.last_at = at
        if word == "stop":
            effect.code = number
    return found
