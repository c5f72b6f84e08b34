"""What is paused, and which checkpoints this database was begun with: few rows, read as a whole at a start."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from nodelink_server.core.pauses import Pause, PauseStep
from nodelink_server.core.ports import LoadedCheckpoint
from nodelink_server.store.tables import loaded_checkpoints, pauses


def all_pauses(connection: Connection) -> Sequence[Pause]:
    """Every pause in force."""
    return [Pause(row.scope, row.since, row.by, row.reason) for row in connection.execute(select(pauses))]


def keep(connection: Connection, steps: Sequence[PauseStep]) -> None:
    """Begin and end pauses, in order."""
    for step in steps:
        connection.execute(delete(pauses).where(pauses.c.scope == step.scope))
        if step.pause is not None:
            connection.execute(insert(pauses).values(step.pause._asdict()))


def loaded(connection: Connection) -> LoadedCheckpoint | None:
    """The checkpoint that was loaded, if what ran when it was taken is not dealt with yet."""
    query = select(loaded_checkpoints).where(loaded_checkpoints.c.is_revived.is_(False))
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else LoadedCheckpoint(row.id, row.start_number, row.as_waiting)


def revived(connection: Connection, checkpoint_id: str) -> None:
    """What ran when a checkpoint was taken is dealt with."""
    connection.execute(
        update(loaded_checkpoints).where(loaded_checkpoints.c.id == checkpoint_id).values(is_revived=True)
    )
