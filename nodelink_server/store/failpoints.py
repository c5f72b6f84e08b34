"""The failpoints of a commit, by what it carries."""

from __future__ import annotations

from nodelink.failpoints import hit, is_armed
from nodelink_server.core.blob_ports import NewArtifact
from nodelink_server.core.ports import Batch, EventName

_ENDS = frozenset(
    {
        EventName.TASK_COMPLETED,
        EventName.TASK_FAILED,
        EventName.TASK_TIMEOUT,
        EventName.TASK_CANCELLED,
        EventName.TASK_LOST,
    }
)
_NAMES = {
    EventName.TASK_CREATED: "submit",
    EventName.TASK_SENT: "grant",
    EventName.TASK_STARTED: "started",
    EventName.TASK_CANCELLING: "cancel",
} | dict.fromkeys(_ENDS, "result")


def hit_commit(batch: Batch, when: str) -> None:
    """Pass the places of everything that a batch carries."""
    if not is_armed():
        return
    names = {_NAMES[event] for change in batch.changes for event in change.events if event in _NAMES}
    if batch.agents:
        names.add("hello")
    names |= {"artifact" if isinstance(keeping.wish, NewArtifact) else "state" for keeping in batch.keepings}
    if not (batch.changes or batch.agents or batch.keepings):
        names.add("tick")
    for name in sorted(names):
        hit(f"server.{name}.{when}")
