"""Servers that break a rule of checkpoints when they load one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nodelink_server.store.checkpoint_loading import REVISIONS_AHEAD, STARTS_AHEAD
from nodelink_server.store.memory import boot_of


def draws_the_fences_of_the_lost_server_again(manager: Any) -> None:
    """Fences go on from those of the checkpoint, and not far above them."""

    def spoil(disk: Any) -> None:
        disk.start_number -= STARTS_AHEAD

    _when_loaded(manager, spoil)


def numbers_events_as_the_lost_server_did(manager: Any) -> None:
    """Whoever resumes a stream takes new events for those that he has heard."""

    def spoil(disk: Any) -> None:
        disk.revision -= REVISIONS_AHEAD

    _when_loaded(manager, spoil)


def takes_what_ran_for_waiting(manager: Any) -> None:
    """Nobody has said that nothing of it runs any more."""
    load = manager.checkpoints.load
    manager.checkpoints.load = lambda checkpoint_id, *, as_waiting: load(checkpoint_id, as_waiting=True)


def believes_that_what_ran_runs_on(manager: Any) -> None:
    """What was with an agent in the checkpoint is not put in doubt."""
    manager.rooms.reviving.changes = lambda granted, loaded, *, now: iter(())


def loads_no_keys(manager: Any) -> None:
    """What is asked for again under its idempotency key runs again."""
    _when_loaded(manager, lambda disk: disk.idempotency.clear())


def loads_no_locks(manager: Any) -> None:
    """What ran has its lock and its places no more."""
    _when_loaded(manager, lambda disk: disk.holds.clear())


def loads_no_pauses(manager: Any) -> None:
    """What was paused starts with the next server."""
    _when_loaded(manager, lambda disk: disk.pauses.clear())


def loads_what_it_has_loaded_before(manager: Any) -> None:
    """The tasks of the checkpoint are there anew at each start."""
    load, shelf = manager.checkpoints.load, manager.checkpoints._on

    async def loaded(checkpoint_id: str, *, as_waiting: bool) -> Any:
        shelf.disk.loaded, shelf.disk.last_key = None, 0
        return await load(checkpoint_id, as_waiting=as_waiting)

    manager.checkpoints.load = loaded


def _when_loaded(manager: Any, spoil: Callable[[Any], None]) -> None:
    """Spoil what was loaded, before anybody sees it."""
    manager.checkpoints.load = partial(_loaded, manager.checkpoints.load, manager.checkpoints._on, spoil)


async def _loaded(load: Any, shelf: Any, spoil: Callable[[Any], None], checkpoint_id: str, *, as_waiting: bool) -> Any:
    loading = await load(checkpoint_id, as_waiting=as_waiting)
    if loading.boot is None:
        return loading
    spoil(shelf.disk)
    return loading._replace(boot=boot_of(shelf.disk))
