"""Places at which a process can be told to die, so that tests can kill it exactly there. Standard library only.

`NODELINK_FAILPOINT=name` in its environment makes a process kill itself (SIGKILL) when it comes to that place;
`name:k` when it comes there for the k-th time. Nothing else can be armed, and without the variable a place costs the
look at one name. Servers, agents and spawners call `arm` at their start; a name that does not exist is refused then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping

VARIABLE = "NODELINK_FAILPOINT"

FAILPOINTS: Mapping[str, str] = {
    # the server's writer
    "server.writer.before_commit": "a transaction of the tasks or of the output is whole, and not committed",
    "server.writer.after_commit": "it is committed, and who waits for it is not told",
    "server.submit.before_commit": "a transaction that holds new tasks is whole, and not committed",
    "server.submit.after_commit": "new tasks are durable, and nobody was told",
    "server.grant.before_commit": "a transaction that holds grants is whole, and not committed",
    "server.grant.after_commit": "grants are durable, and no agent was told",
    "server.started.before_commit": "a transaction that holds starts is whole, and not committed",
    "server.started.after_commit": "starts are durable, and no listener was told",
    "server.result.before_commit": "a transaction that holds ends of tasks is whole, and not committed",
    "server.result.after_commit": "ends of tasks are durable, and no agent was told",
    "server.cancel.before_commit": "a transaction that holds wishes to cancel is whole, and not committed",
    "server.cancel.after_commit": "wishes to cancel are durable, and no agent was told",
    "server.hello.before_commit": "a transaction that holds an agent's new session is whole, and not committed",
    "server.hello.after_commit": "an agent's new session is durable, and the agent was not told",
    "server.tick.before_commit": "a transaction that holds nothing but the time is whole, and not committed",
    "server.tick.after_commit": "a commit of nothing but the time is durable",
    # the server's answers
    "server.submit.before_answer": "a task was accepted, and the answer has not left",
    "server.batch.before_answer": "a batch was accepted, and the answer has not left",
    "server.cancel.before_answer": "a cancel was kept, and the answer has not left",
    # what the server hears from agents
    "server.hello.received": "a hello was read, and nothing was done about it",
    "server.accepted.received": "an agent's acceptance of an offer was read, and nothing was done about it",
    "server.finished.received": "a result was read, and nothing was done about it",
    "server.heartbeat.received": "a heartbeat was read, and nothing was done about it",
    "server.logs.received": "output was read, and nothing was done about it",
    # what the server says to agents
    "server.welcome.before_write": "a session is open, and its agent was not welcomed",
    "server.welcome.after_write": "an agent was welcomed",
    "server.tasks.before_write": "a frame with tasks is made, and not written",
    "server.tasks.after_write": "a frame with tasks is written",
    "server.starts.before_write": "a frame with orders to start is made, and not written",
    "server.starts.after_write": "a frame with orders to start is written",
    "server.cancels.before_write": "a frame with cancels is made, and not written",
    "server.cancels.after_write": "a frame with cancels is written",
    "server.acks.before_write": "a frame with acknowledgements of results is made, and not written",
    "server.acks.after_write": "a frame with acknowledgements of results is written",
    # the server's blobs, what they stand for, and its answers about them
    "server.piece.before_write": "a piece of an upload is to be written",
    "server.piece.after_write": "a piece is written, and who sent it was not told",
    "server.upload.sealed": "an upload is all there and right, and has not its name",
    "server.upload.renamed": "it has its name, and its directory is not synced",
    "server.upload.placed": "it has its name durably, and no workspace has it",
    "server.blob.before_commit": "a transaction by which a workspace has a blob is whole, and not committed",
    "server.blob.after_commit": "a workspace has a blob, and who sent it was not told",
    "server.artifact.before_commit": "a transaction that makes a blob an artifact is whole, and not committed",
    "server.artifact.after_commit": "an artifact is durable, and nobody was told",
    "server.state.before_commit": "a transaction that saves a state is whole, and not committed",
    "server.state.after_commit": "a state is saved, and nobody was told",
    "server.upload.before_answer": "an upload is complete, and the answer has not left",
    "server.artifact.before_answer": "an artifact was kept, and the answer has not left",
    "server.state.before_answer": "a state was saved, and the answer has not left",
    # the rest of the server
    "server.logs.before_append": "output is to be stored",
    "server.logs.after_append": "output is stored, and not acknowledged",
    "server.boot.opened": "the database is open, and the start is not counted",
    "server.boot.counted": "the start is counted, and nothing is taken up again",
    "server.boot.restored": "everything is taken up again, and nobody can connect",
    "server.sweep.begun": "old tasks are to be removed",
    "server.sweep.between": "the output of old tasks is removed, and they are not",
    "server.drain.begun": "the server was told to stop",
    # the agent's journal
    "agent.journal.before_write": "records are to be written to the journal",
    "agent.journal.written": "records are written, and not synced",
    "agent.journal.synced": "records are durable, and nothing was done about it",
    "agent.compaction.written": "a smaller journal is written beside the journal",
    "agent.compaction.renamed": "the smaller journal is in place, and its directory is not synced",
    # what the agent hears from the server
    "agent.welcome.received": "a welcome was read, and nothing was done about it",
    "agent.tasks.received": "tasks were read, and nothing was done about it",
    "agent.starts.received": "orders to start were read, and nothing was done about it",
    "agent.cancels.received": "cancels were read, and nothing was done about it",
    "agent.acks.received": "acknowledgements of results were read, and nothing was forgotten",
    # what the agent says to the server
    "agent.hello.before_write": "the session has its number, and the hello is not written",
    "agent.hello.after_write": "a hello is written",
    "agent.accepted.before_write": "a frame with acceptances is made, and not written",
    "agent.accepted.after_write": "a frame with acceptances is written",
    "agent.results.before_write": "a frame with results is made, and not written",
    "agent.results.after_write": "a frame with results is written",
    "agent.logs.after_write": "a frame with output is written",
    "agent.heartbeat.after_write": "a frame with a heartbeat is written",
    # bytes that an attempt sends and fetches
    "agent.upload.announced": "the server has told where an upload goes on, and nothing is sent",
    "agent.piece.sent": "a piece of an upload is handed to the stream",
    "agent.upload.complete": "the server has all of an upload, and its attempt was not told",
    "agent.piece.fetched": "a piece of a download is in its file",
    "agent.download.complete": "a download has its name, and its attempt was not told",
    "agent.state.before_save": "the server has the bytes of a state, and was not asked to save it",
    "agent.state.saved": "a state is saved, and its attempt was not told",
    # the agent and its commands
    "agent.order.before": "a command is in the journal, and the spawner was not told",
    "agent.order.after": "the spawner was told of a command, and has not answered",
    "agent.end.known": "a command has ended, and that is not in the journal",
    "agent.restore.before": "the journal is read, and nothing was taken up again",
    "agent.restore.after": "what the journal tells of is taken up again, and there is no session",
    # the spawner
    "spawner.order.read": "an order to start was read, and nothing was done about it",
    "spawner.launch.before": "that a command is ordered is written, and it is not started",
    "spawner.launch.after": "a command runs, and that is not written",
    "spawner.launch.written": "that a command runs is written, and the agent was not told",
    "spawner.exit.seen": "a command's leader has exited, and that is not written",
    "spawner.end.written": "a command's end is written, and not synced",
    "spawner.end.synced": "a command's end is durable, and the agent was not told",
    "spawner.adopted": "another agent has come, and was not told what runs",
}
"""Each name, and how things stand there."""


class UnknownFailpoint(Exception):
    """The environment names a failpoint that does not exist."""


class _Armed:
    """One place, and how often it is passed until it is the end."""

    def __init__(self, name: str, passes: int) -> None:
        self._name = name
        self._left = passes
        self._lock = threading.Lock()  # the writer's thread and the loop may come at once

    def hit(self, name: str) -> None:
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left > 0:
                return
            os.write(2, f"failpoint {name} reached\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


_armed: _Armed | None = None


def arm(environ: Mapping[str, str]) -> None:
    """Do what the environment asks for. Raises `UnknownFailpoint`, with all that there are."""
    global _armed  # noqa: PLW0603 - a process has one environment, and `hit` must cost nothing
    text = environ.get(VARIABLE, "")
    if not text:
        return
    name, _, count = text.partition(":")
    if name not in FAILPOINTS or not (count or "1").isdecimal() or int(count or "1") < 1:
        known = "".join(f"\n  {known}: {about}" for known, about in FAILPOINTS.items())
        raise UnknownFailpoint(f"{VARIABLE}={text!r} is no failpoint (or name:k, from k = 1); there are:{known}")
    _armed = _Armed(name, int(count or "1"))


def is_armed() -> bool:
    """Whether any place is the end of this process."""
    return _armed is not None


def hit(name: str) -> None:
    """Pass a place. Does not return if it was the last."""
    if _armed is not None:
        _armed.hit(name)
