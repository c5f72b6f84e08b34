"""Orders of one turn of the event loop: what leaves together, in what order, and what waits for nothing."""

from __future__ import annotations

import asyncio
import json

import pytest

from nodelink_agent.orders import Orders


class Socket:
    """What was written, as the orders of each write."""

    def __init__(self) -> None:
        self.writes: list[list[object]] = []

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        self.writes.append([json.loads(line)["n"] for line in data.splitlines()])


@pytest.fixture
def socket() -> Socket:
    return Socket()


async def test_the_orders_of_one_turn_leave_together(socket: Socket) -> None:
    orders = Orders(socket.write)
    orders.add({"n": 1})
    orders.add({"n": 2})
    assert socket.writes == []
    await asyncio.sleep(0)
    orders.add({"n": 3})
    await asyncio.sleep(0)
    assert socket.writes == [[1, 2], [3]]


async def test_what_is_sent_now_overtakes_nothing(socket: Socket) -> None:
    orders = Orders(socket.write)
    orders.add({"n": 1})
    orders.send({"n": 2})
    assert socket.writes == [[1, 2]]
    orders.add({"n": 3})
    await asyncio.sleep(0)
    assert socket.writes == [[1, 2], [3]]


async def test_nothing_is_written_without_an_order(socket: Socket) -> None:
    orders = Orders(socket.write)
    orders.add({"n": 1})
    orders.drop()
    await asyncio.sleep(0)
    orders.flush()
    assert socket.writes == []
