"""What was answered to calls that are carried out once, by the key of their caller."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.dialects.sqlite import insert

from nodelink_server.core.ports import Answer, IdempotencyKey
from nodelink_server.store.tables import answers

MOST_FORGOTTEN = 1_000


def find(connection: Connection, caller: str, key: str) -> Answer | None:
    """The answer that is kept under a key."""
    named = (answers.c.caller == caller, answers.c.key == key)
    row = connection.execute(select(answers).where(*named)).one_or_none()
    if row is None:
        return None
    return Answer(IdempotencyKey(caller=caller, key=key, digest=row.digest), row.answer, row.answered_at)


def keep(connection: Connection, answer: Answer) -> None:
    """Keep an answer, unless there is one under its key."""
    key = answer.key
    row = {
        "caller": key.caller,
        "key": key.key,
        "digest": key.digest,
        "answer": answer.answer,
        "answered_at": answer.at,
    }
    connection.execute(insert(answers).values(row).on_conflict_do_nothing())


def forget(connection: Connection, before: int) -> int:
    """Forget some of the answers that were given before a moment; how many, `MOST_FORGOTTEN` if there may be more."""
    name = (answers.c.caller, answers.c.key)
    old = select(*name).where(answers.c.answered_at < before).limit(MOST_FORGOTTEN)
    return connection.execute(delete(answers).where(tuple_(*name).in_(old))).rowcount
