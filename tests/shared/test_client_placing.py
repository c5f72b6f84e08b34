"""What the clients let callers say of where a task runs, beside whom and in whose turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nodelink.client import OnConflict, Rate, WhenTaken, new_task
from nodelink.errors import InvalidTask
from nodelink.task import BY_RULE, TaskSpec
from nodelink.v1 import task_pb2
from tests.support.client_stage import Stage, playing

AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_what_is_not_said_is_not_asked() -> None:
    assert new_task("echo").spec == TaskSpec(type="echo")
    nothing: dict[str, Any] = dict.fromkeys(
        ("priority", "agent_id", "labels", "resources", "limits", "rate", "workspace", "unique_key", "fairness_key")
    )
    assert new_task("echo", **nothing).spec == TaskSpec(type="echo", priority=BY_RULE)


def test_everything_can_be_said() -> None:
    asked = new_task(
        "echo",
        agent_id=AGENT,
        labels="gpu, env = prod",
        slots=2,
        resources={"cpu": 0.5, "disk": 3, "memory": "8GiB"},
        limits={"database": 4},
        rate={"mail": "10/1m", "web": Rate(5, 1_000)},
        when_taken="skip",
        workspace="site",
        unique_key="nightly",
        on_conflict=OnConflict.REPLACE,
        fairness_key="blue",
        fairness_weight=3,
        heartbeat_timeout="30s",
    )
    assert asked.spec == TaskSpec(
        type="echo",
        agent_id=AGENT,
        selector="env=prod,gpu",
        slots=2,
        resources={"cpu": 500, "disk": 3_000, "memory": 8_589_934_592_000},
        limits={"database": 4},
        rates={"mail": Rate(10, 60_000), "web": Rate(5, 1_000)},
        when_taken=WhenTaken.SKIP,
        workspace="site",
        unique_key="nightly",
        on_conflict=OnConflict.REPLACE,
        fairness_key="blue",
        fairness_weight=3,
        heartbeat_timeout_ms=30_000,
    )


def test_labels_may_be_names_and_values() -> None:
    assert new_task("echo", labels={"gpu": "", "env": "prod"}).spec.selector == "env=prod,gpu="
    assert new_task("echo", labels={}).spec.selector == ""


def test_it_is_sent(stage: Stage) -> None:
    handle = stage.client.submit("echo", labels="gpu", slots=2, resources={"cpu": 1}, when_taken="wait")
    stream = stage.submissions(credit=10)
    [request] = stream.frame().requests
    stream.answer(0, "t1")

    assert (request.spec.selector, request.spec.slots, dict(request.spec.resources)) == ("gpu", 2, {"cpu": 1_000})
    assert (request.spec.priority, request.spec.when_taken) == (0, task_pb2.WHEN_TAKEN_UNSPECIFIED)
    assert stage.soon(lambda: handle.id) == "t1"


@pytest.mark.parametrize(
    "asked, wrong",
    [
        ({"agent_id": ""}, "agent_id: must not be empty"),
        ({"agent_id": 3}, "agent_id: must be text, not 3"),
        ({"labels": ""}, "labels: must not be empty"),
        ({"labels": "a in (b)"}, r"labels: 'a in \(b\)' is not name=value"),
        ({"labels": ["a"]}, "labels: must be text"),
        ({"labels": {"a": 1}}, "labels.a: must be text, not 1"),
        ({"labels": {"a!": "b"}}, "labels: 'a!' cannot name a label"),
        ({"slots": 0}, "slots: must be a whole number from 1 on, not 0"),
        ({"slots": True}, "slots: must be a whole number from 1 on"),
        ({"slots": 1 << 32}, "slots: must be a whole number from 1 on"),
        ({"resources": "cpu=1"}, "resources: must be values by name, in a mapping, not 'cpu=1'"),
        ({"resources": {"cpu": "much"}}, "resources.cpu: 'much' is not a quantity"),
        ({"resources": {"cpu": -1}}, "resources.cpu: -1 is not from 0 to 1000T"),
        ({"resources": {"cpu": None}}, "resources.cpu: must be a number, or a text like 500m or 8GiB, not None"),
        ({"limits": ["a"]}, "limits: must be values by name"),
        ({"limits": {"k": "4"}}, "limits.k: must be a whole number from 1 on, not '4'"),
        ({"limits": {3: 4}}, r"limits \(a name\): must be text, not 3"),
        ({"rate": {"k": 10}}, "rate.k: must be a Rate, or a text like 10/1m, not 10"),
        ({"rate": {"k": "10"}}, "rate.k: '10' is not a rate"),
        ({"rate": {"k": Rate(0, 1_000)}}, "rate.k: must be a whole number from 1 on, not 0"),
        ({"rate": {"k": Rate(1, 0)}}, "rate.k: must be a whole number from 1 on, not 0"),
        ({"when_taken": "queue"}, "when_taken: 'queue' is not known; use one of wait, skip, replace"),
        ({"workspace": ""}, "workspace: must not be empty"),
        ({"unique_key": ""}, "unique_key: must not be empty"),
        ({"on_conflict": "use-existing"}, "on_conflict: 'use-existing' is not known; use one of fail, use_existing"),
        ({"fairness_key": ""}, "fairness_key: must not be empty"),
        ({"fairness_weight": 0}, "fairness_weight: must be a whole number from 1 on, not 0"),
        ({"heartbeat_timeout": 3}, "heartbeat_timeout: must be a text like 30s"),
        ({"lock": ""}, "lock: must not be empty"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_its_field(asked: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidTask, match=wrong):
        new_task("echo", **asked)
