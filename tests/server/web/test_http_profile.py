"""`/debug/profile`: who gets one, and in what form."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from nodelink_server.profile import Profiler
from nodelink_server.web.profile import FORWARDED
from tests.support.http_door import Door, app_door


def from_elsewhere(door: Door, address: str) -> httpx.AsyncClient:
    """A client whose requests come from an address."""
    transport = door.http._transport
    assert isinstance(transport, httpx.ASGITransport)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=transport.app, client=(address, 1)), base_url=door.http.base_url
    )


async def test_a_profile_is_text_with_a_count_on_each_line() -> None:
    async with app_door() as door:
        answer = await door.http.get("/debug/profile?seconds=1")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.text
    assert all(line.rpartition(" ")[2].isdecimal() for line in answer.text.splitlines())


@pytest.mark.parametrize("seconds", ["0.5", "61", "nan", "soon"])
async def test_a_length_out_of_bounds_is_refused(seconds: str) -> None:
    async with app_door() as door:
        answer = await door.http.get("/debug/profile", params={"seconds": seconds})

    assert (answer.status_code, [wrong["field"] for wrong in answer.json()["errors"]]) == (422, ["seconds"])


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "unix"])
async def test_a_caller_who_is_elsewhere_gets_none(address: str) -> None:
    async with app_door() as door, from_elsewhere(door, address) as http:
        answer = await http.get("/debug/profile?seconds=1")

    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_a_caller_on_this_machine_gets_one(address: str) -> None:
    async with app_door() as door, from_elsewhere(door, address) as http:
        assert (await http.get("/debug/profile?seconds=1")).status_code == 200


@pytest.mark.parametrize("header", FORWARDED)
async def test_a_caller_behind_a_proxy_on_this_machine_gets_none(header: str) -> None:
    async with app_door() as door:
        answer = await door.http.get("/debug/profile?seconds=1", headers={header: "192.0.2.7"})

    assert answer.status_code == 403


async def test_a_second_profile_at_the_same_time_is_told_when_to_come_again() -> None:
    async with app_door() as door:
        answers = await asyncio.gather(*(door.http.get("/debug/profile?seconds=1") for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [200, 429]
    assert [answer.headers["retry-after"] for answer in answers if answer.status_code == 429] == ["1"]


async def test_a_server_that_closes_its_doors_does_not_wait_for_a_profile() -> None:
    async with app_door() as door:
        profiling = asyncio.create_task(door.http.get("/debug/profile?seconds=50"))
        async with asyncio.timeout(20):
            while "_Sampler" not in await Profiler().record(0.05) and not profiling.done():  # it has begun
                pass
            app = door.http._transport.app  # type: ignore[attr-defined]
            app.state.closing.set()
            answer = await profiling

    assert answer.status_code == 503
