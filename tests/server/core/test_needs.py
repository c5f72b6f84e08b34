"""What a task needs of an agent: which agents fit, and which have room."""

from __future__ import annotations

import pytest

from nodelink.values import evolve
from nodelink_server.core.needs import NO_NEEDS, needs_of, parse_needs, shape_of
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task
from nodelink_server.core.use import Use
from tests.support.core_parts import make_session, make_spec, make_task

ME, OTHER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"


def task_of(task_id: str = "t1", **fields: object) -> Task:
    """A waiting task that asks for this."""
    spec = make_spec(**fields)  # type: ignore[arg-type]  # names of fields
    return evolve(make_task(task_id), spec=spec)


@pytest.fixture
def session() -> AgentSession:
    made = make_session(ME, slots=4)
    made.labels = {"env": "prod", "disk": "ssd"}
    made.use = Use({"cpu": 2_000, "gpu": 1_000}, {"echo": 3})
    return made


def test_needs_are_written_as_one_text_and_read_again() -> None:
    task = task_of(agent_id=ME, selector="env=prod", slots=2, resources={"gpu": 1_000, "cpu": 500})

    assert parse_needs(shape_of(task).needs) == needs_of(task.spec)
    assert shape_of(task) == shape_of(task_of(agent_id=ME, selector="env=prod", slots=2, resources=task.spec.resources))
    assert shape_of(task_of()).needs == ""
    assert parse_needs("") is NO_NEEDS


@pytest.mark.parametrize(
    "fields, fits",
    [
        ({}, True),
        ({"agent_id": ME}, True),
        ({"agent_id": OTHER}, False),
        ({"selector": "env=prod,disk"}, True),
        ({"selector": "disk!=ssd"}, False),
        ({"selector": "!env"}, False),
        ({"slots": 4}, True),
        ({"slots": 5}, False),
        ({"resources": {"gpu": 1_000}}, True),
        ({"resources": {"gpu": 1_001}}, False),
        ({"resources": {"tpu": 1}}, False),
        ({"type": "shell"}, False),
        ({"pool": "other"}, False),
    ],
)
def test_an_agent_fits_if_it_has_all_that_is_needed(
    session: AgentSession, fields: dict[str, object], fits: bool
) -> None:
    assert session.fits(shape_of(task_of(**fields))) is fits  # type: ignore[arg-type]  # names of fields


def test_room_is_what_others_leave(session: AgentSession) -> None:
    heavy, light = shape_of(task_of(slots=3)), shape_of(task_of())
    session.reserve(task_of("t1", slots=2, resources={"cpu": 1_500}))

    assert session.room == 2
    assert not session.has_room_for(heavy)
    assert session.has_room_for(light)
    assert not session.has_room_for(shape_of(task_of(resources={"cpu": 501})))
    assert session.has_room_for(shape_of(task_of(resources={"cpu": 500, "gpu": 1_000})))

    session.release([task_of("t1", slots=2)])
    assert session.room == 4
    assert session.has_room_for(heavy)


def test_of_a_type_only_so_many_at_a_time(session: AgentSession) -> None:
    for number in range(3):
        session.reserve(task_of(f"t{number}"))
    assert session.room == 1
    assert not session.has_room_for(shape_of(task_of()))

    session.let_go("t1")
    assert session.has_room_for(shape_of(task_of()))


def test_letting_go_leaves_more_room_once(session: AgentSession) -> None:
    session.reserve(task_of("t1", resources={"gpu": 1_000}))

    assert session.let_go("t1")
    assert not session.let_go("t1")
    session.reserve(task_of("t2", type="shell"))
    assert not session.let_go("t2")
