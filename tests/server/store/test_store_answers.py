"""What was answered under a key, over every store: the first answer stays, until it is forgotten."""

from __future__ import annotations

from nodelink_server.core.ports import Answer, IdempotencyKey, Store
from tests.server.store.conftest import Database
from tests.server.store.lives import NOW


def answer(text: str, *, key: str = "k", caller: str = "anna", at: int = NOW) -> Answer:
    return Answer(IdempotencyKey(caller=caller, key=key, digest=text.encode()), text, at)


async def test_an_answer_is_kept_under_its_key_and_its_caller_over_a_restart(database: Database) -> None:
    async with database.open() as store:
        assert await store.answer("anna", "k") is None
        await store.keep_answer(answer("first"))
        await store.keep_answer(answer("second"))
        await store.keep_answer(answer("otto's", caller="otto"))
    async with database.open() as store:
        assert await store.answer("anna", "k") == answer("first")
        assert await store.answer("otto", "k") == answer("otto's", caller="otto")
        assert await store.answer("anna", "l") is None


async def test_old_answers_are_forgotten(store: Store) -> None:
    for number in range(3):
        await store.keep_answer(answer("a", key=f"k{number}", at=NOW + number))

    await store.sweep(finished_before=0, events_before=0, keys_before=NOW + 1, sessions_before=0, limit=10)

    assert [await store.answer("anna", f"k{number}") is not None for number in range(3)] == [False, True, True]
