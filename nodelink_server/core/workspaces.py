"""The workspaces: each says where its tasks run, one at a time. Few, so memory knows them all.

What a task that names one needs follows when it comes in: the workspace's pool, its execution class if the task names
none, and, if its mode is `local`, an agent with the label `mode=local`, which is how those are told apart that run on
the server's own machine. What comes in later follows what is set then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from nodelink.errors import FieldError, InvalidTask, NotBuilt, WorkspaceConflict, WorkspaceNotFound
from nodelink.selectors import canonical_selector
from nodelink.task import DEFAULT_POOL, Execution, TaskSpec
from nodelink.values import evolve
from nodelink_server.core.characters import NAME
from nodelink_server.core.deeds import Deed
from nodelink_server.core.errands import Errands
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.ports import Clock, Store, Workspace, WorkspaceMode

MOST_WORKSPACES = 1_000
LOCAL_LABEL = "mode=local"
"""What the labels of an agent say that runs on the server's own machine."""
MODES: Sequence[WorkspaceMode] = (WorkspaceMode.AGENT, WorkspaceMode.LOCAL)
"""Those that are available."""

_NAMED_SO = "must be 1 to 63 letters, digits, '.', '_' or '-', and begin with a letter or digit"

log = structlog.get_logger(__name__)


class Workspaces:
    """Keeps the workspaces, and places their tasks."""

    def __init__(self, *, store: Store, ledger: Ledger, errands: Errands, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._errands = errands
        self._clock = clock
        self._known: dict[str, Workspace] = {}

    def restore(self, workspaces: Sequence[Workspace]) -> None:
        """Know the workspaces that are stored."""
        self._known = {workspace.name: workspace for workspace in workspaces}

    def all(self) -> Sequence[Workspace]:
        """Every workspace, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def get(self, name: str) -> Workspace:
        """One workspace. Raises `WorkspaceNotFound`."""
        if name not in self._known:
            raise WorkspaceNotFound(f"there is no workspace {name[:64]!r}")
        return self._known[name]

    def placed(self, spec: TaskSpec) -> TaskSpec:
        """What is asked for, where its workspace wants it. Raises `InvalidTask` if that cannot be."""
        if not spec.workspace:
            return spec
        workspace = self._known.get(spec.workspace)
        if workspace is None:
            raise InvalidTask(FieldError("workspace", f"there is no workspace {spec.workspace[:64]!r}"))
        if spec.pool not in {DEFAULT_POOL, workspace.pool}:
            right = f"is {spec.pool!r}; the tasks of workspace {workspace.name!r} run in {workspace.pool!r}"
            raise InvalidTask(FieldError("pool", right))
        execution = spec.execution or workspace.execution
        return evolve(spec, pool=workspace.pool, selector=_selector(spec, workspace), execution=execution)

    async def create(
        self, name: str, *, pool: str, mode: str, execution: Execution | None = None, by: str = "local"
    ) -> Workspace:
        """Keep a new workspace. Raises `InvalidTask`, `NotBuilt`, `WorkspaceConflict`, `StoreUnavailable`."""
        checked, now = _checked(name, pool, mode), self._clock.now()
        workspace = Workspace(name=name, pool=pool, mode=checked, created_at=now, execution=execution)
        return await self._errands.do(partial(self._create, workspace, by))

    async def change(
        self, name: str, *, pool: str, mode: str, execution: Execution | None = None, by: str = "local"
    ) -> Workspace:
        """Let the tasks that come in from now on run elsewhere, or as another class.

        Raises as `create`, and `WorkspaceNotFound`.
        """
        checked = _checked(name, pool, mode)
        wanted = partial(replace, pool=pool, mode=checked, execution=execution)
        return await self._errands.do(partial(self._change, name, wanted, by))

    async def remove(self, name: str, *, by: str = "local") -> Workspace:
        """Let there be no such workspace any more; returns what it was.

        Raises `WorkspaceNotFound`, `WorkspaceConflict` while live tasks name it, `StoreUnavailable`.
        """
        return await self._errands.do(partial(self._remove, name, by))

    async def _create(self, workspace: Workspace, by: str) -> Workspace:
        if workspace.name not in self._known and len(self._known) >= MOST_WORKSPACES:
            raise InvalidTask(FieldError("name", f"there are {MOST_WORKSPACES:,} workspaces, the most there can be"))
        deed = self._deed("workspace_created", by, None, workspace)
        if not await self._store.create_workspace(workspace, deed):
            raise WorkspaceConflict(f"there is a workspace {workspace.name!r} already")
        self._known[workspace.name] = workspace
        log.info("workspace_created", name=workspace.name, **(_told(workspace) or {}))
        return workspace

    async def _change(self, name: str, wanted: Callable[[Workspace], Workspace], by: str) -> Workspace:
        before = self.get(name)
        workspace = wanted(before)
        deed = self._deed("workspace_changed", by, before, workspace)
        if not await self._store.change_workspace(workspace, deed):
            raise WorkspaceNotFound(f"there is no workspace {name!r}")
        self._known[name] = workspace
        log.info("workspace_changed", name=name, **(_told(workspace) or {}))
        return workspace

    async def _remove(self, name: str, by: str) -> Workspace:
        workspace = self.get(name)
        deed = self._deed("workspace_removed", by, workspace, None)
        del self._known[name]  # no task names it any more; those that do already are durable first
        is_gone = False
        try:
            await self._ledger.commit()
            is_gone = await self._store.remove_workspace(name, deed)
        finally:
            if not is_gone:
                self._known[name] = workspace
        if not is_gone:
            raise WorkspaceConflict(f"there are live tasks of workspace {name!r}")
        log.info("workspace_removed", name=name)
        return workspace

    def _deed(self, kind: str, by: str, before: Workspace | None, after: Workspace | None) -> Deed:
        """What is audited of a workspace that is another from now on."""
        name = next(one.name for one in (before, after) if one is not None)
        return Deed(kind, by, f"workspace:{name}", self._clock.now(), _told(before), _told(after))


def _told(workspace: Workspace | None) -> Mapping[str, object] | None:
    if workspace is None:
        return None
    execution = workspace.execution.value if workspace.execution is not None else None
    return {"pool": workspace.pool, "mode": workspace.mode.value, "execution": execution}


def _selector(spec: TaskSpec, workspace: Workspace) -> str:
    """What the labels of an agent have to be that runs a task of a workspace."""
    if workspace.mode is not WorkspaceMode.LOCAL:
        return spec.selector
    try:
        return canonical_selector(f"{spec.selector},{LOCAL_LABEL}" if spec.selector else LOCAL_LABEL)
    except ValueError as error:
        why = f"{error}, with {LOCAL_LABEL} for its workspace"
        raise InvalidTask(FieldError("labels", why)) from error


def _checked(name: str, pool: str, mode: str) -> WorkspaceMode:
    """The mode of a workspace that is valid. Raises `InvalidTask`, naming every field that is wrong, or `NotBuilt`."""
    given = {"name": name, "pool": pool}
    errors = [FieldError(field, _NAMED_SO) for field, text in given.items() if not NAME.fullmatch(text)]
    if mode not in set(WorkspaceMode):
        errors.append(FieldError("mode", f"{mode[:64]!r} is none of {', '.join(MODES)}"))
    if errors:
        raise InvalidTask(*errors)
    if WorkspaceMode(mode) not in MODES:
        raise NotBuilt(FieldError("mode", f"{mode} is not available in this version; use one of {', '.join(MODES)}"))
    return WorkspaceMode(mode)
