"""The states of workspaces: blobs that follow one another. Each is saved by who knows the one that it replaces.

While a task works in a workspace, only that task saves its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from nodelink.errors import BlobNotFound, StateChanged, StateUnguarded, WorkspaceConflict
from nodelink.task import AttemptRef
from nodelink_server.core.attempt_access import not_current
from nodelink_server.core.blob_ports import BlobStore, Kept, NewState, WorkspaceState
from nodelink_server.core.blobs import Blobs, not_found
from nodelink_server.core.deeds import LOCAL, Deed
from nodelink_server.core.errands import Errands
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import Clock, EventName, Keeping, Notice
from nodelink_server.core.workspaces import Workspaces

NO_STATE = ""
"""What names the state of a workspace that has none."""

log = structlog.get_logger(__name__)


class WorkspaceStates:
    """Keeps the state of each workspace, and some before it."""

    def __init__(
        self,
        *,
        store: BlobStore,
        ledger: Ledger,
        blobs: Blobs,
        workspaces: Workspaces,
        errands: Errands,
        clock: Clock,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._blobs = blobs
        self._workspaces = workspaces
        self._errands = errands
        self._clock = clock

    async def list(self, workspace: str) -> Sequence[WorkspaceState]:
        """The states of a workspace that are kept, the newest first. Raises `WorkspaceNotFound`."""
        self._workspaces.get(workspace)
        return await self._store.states(workspace)

    async def get(self, workspace: str, *, version: int = 0) -> WorkspaceState:
        """The state of a workspace, or (`version`) an earlier one. Raises `WorkspaceNotFound`, `BlobNotFound`."""
        for state in await self.list(workspace):
            if version in {0, state.version}:
                return state
        which = f"no state with the version {version}" if version else "no state"
        raise BlobNotFound(f"workspace {workspace!r} has {which}")

    async def expect(self, workspace: str, if_match: str | None) -> None:
        """See, before anything is sent, whether a state could be saved in place of this one.

        Raises `StateUnguarded`, `StateChanged`, `WorkspaceNotFound`.
        """
        states = await self.list(workspace)
        if if_match is None:
            raise StateUnguarded
        if if_match not in {_etag(states), _etag(states[1:])}:  # the one before the newest: it may be asked again
            raise _changed(workspace, states)

    async def save(
        self, workspace: str, sha256: str, *, if_match: str | None, holder: AttemptRef | None = None, by: str = LOCAL
    ) -> WorkspaceState:
        """Let a blob be the state of a workspace. `if_match`: the `etag` of the one that it replaces, or `NO_STATE`.

        What was done before, in the same words, is not done again. Raises `StateUnguarded` if it is None,
        `StateChanged` if another is the newest, `WorkspaceConflict` while a task works there, `NotAllowed` if it is not
        the attempt's turn any more, `WorkspaceNotFound`, and as `Blobs.have`.
        """
        await self.expect(workspace, if_match)
        assert if_match is not None
        blob = await self._blobs.have(sha256, workspace, by=by)
        return await self._errands.do(partial(self._save, workspace, sha256, blob.size, if_match, holder, by))

    async def _save(
        self, workspace: str, sha256: str, size: int, if_match: str, holder: AttemptRef | None, by: str
    ) -> WorkspaceState:
        states = await self._store.states(workspace)
        if states and states[0].sha256 == sha256 and if_match == _etag(states[1:]):
            return states[0]
        if if_match != _etag(states):
            raise _changed(workspace, states)
        newest = states[0].version if states else 0
        state = WorkspaceState(
            workspace=workspace,
            version=newest + 1,
            sha256=sha256,
            size=size,
            created_at=self._clock.now(),
            task_id="" if holder is None else holder.task_id,
        )
        before = _told(states[0]) if states else None
        told = {"workspace": workspace, "etag": state.etag, **_told(state)}
        if not state.task_id:
            del told["task_id"]
        keeping = Keeping(
            NewState(state, newest, holder),
            Notice(EventName.WORKSPACE_STATE, "", self._workspaces.get(workspace).pool, told, at=state.created_at),
            Deed("state_saved", by, f"workspace:{workspace}", state.created_at, before, _told(state)),
        )
        committed = await self._ledger.commit(keepings=[keeping])
        _check_kept(committed.kept[0], state)
        log.info("state_saved", workspace=workspace, version=state.version, task_id=state.task_id)
        return state


def _changed(workspace: str, states: Sequence[WorkspaceState]) -> StateChanged:
    return StateChanged(f"the newest state of workspace {workspace!r} is {_etag(states) or 'none'}")


def _told(state: WorkspaceState) -> Mapping[str, object]:
    """A state as it is audited."""
    return {"version": state.version, "sha256": state.sha256, "size": state.size, "task_id": state.task_id}


def _etag(states: Sequence[WorkspaceState]) -> str:
    return states[0].etag if states else NO_STATE


def _check_kept(kept: Kept, state: WorkspaceState) -> None:
    match kept:
        case Kept.KEPT:
            return
        case Kept.NOT_CURRENT:
            raise not_current()
        case Kept.HELD:
            raise WorkspaceConflict(f"a task works in workspace {state.workspace!r}: only it saves the state")
        case Kept.NO_BLOB:
            raise not_found(state.sha256)
        case _:
            raise StateChanged
