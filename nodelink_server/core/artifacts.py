"""Artifacts: blobs as parts of tasks. A caller gives them to a task before it runs, or an attempt makes them.

What stands under a name of one attempt stands there for ever; another attempt may have its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nodelink.errors import BlobConflict, BlobNotFound, FieldError, InvalidTask, TaskNotFound
from nodelink.task import AttemptRef
from nodelink_server.core.attempt_access import not_current
from nodelink_server.core.blob_ports import MOST_ARTIFACTS, Artifact, Kept, NewArtifact
from nodelink_server.core.blobs import Blobs, not_found
from nodelink_server.core.characters import NAME
from nodelink_server.core.deeds import LOCAL, Deed
from nodelink_server.core.errands import Errands
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import Clock, EventName, Keeping, Notice, Store
from nodelink_server.core.task import Task


class Artifacts:
    """Keeps the artifacts of tasks."""

    def __init__(self, *, store: Store, ledger: Ledger, blobs: Blobs, errands: Errands, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._blobs = blobs
        self._errands = errands
        self._clock = clock

    async def list(self, task_id: str) -> Sequence[Artifact]:
        """The artifacts of a task by (name, attempt). Raises `TaskNotFound`."""
        found = await self._store.blobs.artifacts(task_id)
        if found is None:
            raise _no_task(task_id)
        return found

    async def get(self, task_id: str, name: str, *, attempt: int | None = None) -> Artifact:
        """An artifact: of one attempt, or else of the last that has one. Raises `TaskNotFound`, `BlobNotFound`."""
        found = [one for one in await self.list(task_id) if one.name == name and attempt in {None, one.attempt}]
        if not found:
            raise BlobNotFound(f"the task has no artifact {name[:64]!r}")
        return found[-1]

    async def attach(
        self, task_id: str, name: str, sha256: str, *, holder: AttemptRef | None = None, by: str = LOCAL
    ) -> Artifact:
        """Let a blob be an artifact of a task: of the attempt `holder`, or else one that a caller gives it.

        Raises `InvalidTask`, `TaskNotFound`, `BlobNotFound`, `BlobConflict` if the name stands for other bytes,
        `NotAllowed` if it is not the attempt's turn any more, and as `Blobs.have`.
        """
        check_artifact_name(name)
        found = await self._store.find([task_id])
        if not found:
            raise _no_task(task_id)
        workspace = found[0].spec.workspace
        blob = await self._blobs.have(sha256, workspace, by=by)
        artifact = Artifact(
            name=name,
            attempt=0 if holder is None else holder.attempt,
            sha256=sha256,
            size=blob.size,
            created_at=self._clock.now(),
        )
        told = {"artifact": name, "attempt": artifact.attempt, "sha256": sha256, "size": blob.size}
        keeping = Keeping(
            NewArtifact(task_id, artifact, workspace, holder),
            artifact_notice(found[0], artifact),
            Deed("artifact_attached", by, f"task:{task_id}", artifact.created_at, None, told),
        )
        committed = await self._errands.do(partial(self._ledger.commit, keepings=[keeping]))
        _check_kept(committed.kept[0], task_id, artifact)
        return artifact


def artifact_notice(task: Task, artifact: Artifact) -> Notice:
    """What is told when a task has got an artifact."""
    return Notice(
        EventName.TASK_ARTIFACT,
        "",
        task.spec.pool,
        {"name": artifact.name, "sha256": artifact.sha256, "size": artifact.size},
        task.id,
        task.spec.type,
        artifact.attempt,
        artifact.created_at,
    )


def check_artifact_name(name: str) -> None:
    """Raise `InvalidTask` for what can be no name of an artifact."""
    if not NAME.fullmatch(name):
        right = "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit"
        raise InvalidTask(FieldError("name", right))


def _check_kept(kept: Kept, task_id: str, artifact: Artifact) -> None:
    match kept:
        case Kept.KEPT | Kept.ALREADY:
            return
        case Kept.NOT_CURRENT:
            raise not_current()
        case Kept.NO_BLOB:
            raise not_found(artifact.sha256)
        case Kept.TAKEN:
            raise BlobConflict(f"the name {artifact.name!r} stands for other bytes already")
        case Kept.TOO_MANY:
            raise InvalidTask(FieldError("name", f"a task has at most {MOST_ARTIFACTS:,} artifacts"))
        case _:
            raise _no_task(task_id)


def _no_task(task_id: str) -> TaskNotFound:
    return TaskNotFound(f"there is no task {task_id[:64]}")
