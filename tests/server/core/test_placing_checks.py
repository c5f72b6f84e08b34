"""Each rule for where a task may run, beside whom and in whose turn, at its limit and just past it."""

from __future__ import annotations

from typing import Any

import pytest

from nodelink.errors import InvalidTask
from nodelink.task import Execution, OnConflict, Rate, WhenTaken
from nodelink_server.core.validation import BUILT_IN, digest, validate
from tests.support.core_parts import make_submission

AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"
DAY_MS = 24 * 3600 * 1000
MINUTE = Rate(10, 60_000)

GOOD: dict[str, dict[str, Any]] = {
    "by rule": {"priority": 0},
    "one agent": {"agent_id": AGENT},
    "every kind of requirement": {"selector": "env=prod, disk!=hdd, gpu, !spot"},
    "most requirements": {"selector": ",".join(f"l{n}" for n in range(16))},
    "longest label": {"selector": f"{'l' * 200}={'v' * 200}"},
    "most slots": {"slots": 4_096},
    "least of a resource": {"resources": {"cpu": 1}},
    "most of a resource": {"resources": {"memory": 1 << 53}},
    "most resources": {"resources": {f"r{n}": 1 for n in range(16)}},
    "longest resource": {"resources": {"r" * 63: 1}},
    "a resource of some vendor": {"resources": {"example.org/gpu_v-2": 1_000}},
    "most limits": {"limits": {f"k{n}": 1 for n in range(8)}},
    "greatest limit": {"limits": {"deploy to eu-1 (äöü 🔒)": 100_000}},
    "longest key of a limit": {"limits": {"k" * 200: 1}},
    "most rates": {"rates": {f"k{n}": MINUTE for n in range(8)}},
    "greatest rate": {"rates": {"k": Rate(1_000, DAY_MS)}},
    "shortest rate": {"rates": {"k": Rate(1, 1_000)}},
    "longest key of a rate": {"rates": {"k" * 200: MINUTE}},
    "longest workspace": {"workspace": "w" * 63},
    "waits for its lock": {"when_taken": WhenTaken.WAIT, "lock": "l"},
    "skipped without its lock": {"when_taken": WhenTaken.SKIP, "lock": "l"},
    "skipped at its limit": {"when_taken": WhenTaken.SKIP, "limits": {"k": 1}},
    "skipped at its rate": {"when_taken": WhenTaken.SKIP, "rates": {"k": MINUTE}},
    "replaces in its workspace": {"when_taken": WhenTaken.REPLACE, "workspace": "w"},
    "replaces as an exclusive one": {"when_taken": WhenTaken.REPLACE, "execution": Execution.EXCLUSIVE},
    "longest unique key": {"unique_key": "k" * 200},
    "the one that is there": {"unique_key": "k", "on_conflict": OnConflict.USE_EXISTING},
    "in place of the one that is there": {"unique_key": "k", "on_conflict": OnConflict.REPLACE},
    "longest fairness key": {"fairness_key": "k" * 200},
    "least weight": {"fairness_key": "k", "fairness_weight": 1},
    "greatest weight": {"fairness_key": "k", "fairness_weight": 1_000},
    "shortest silence": {"heartbeat_timeout_ms": 1_000},
    "longest silence": {"heartbeat_timeout_ms": 7 * DAY_MS},
}

BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "priority below the rules": ("priority", {"priority": -1}),
    "an agent by its name": ("agent_id", {"agent_id": "build-1"}),
    "an agent in capitals": ("agent_id", {"agent_id": AGENT.upper()}),
    "an agent with a line": ("agent_id", {"agent_id": f"{AGENT}\n"}),
    "an agent of half a character": ("agent_id", {"agent_id": "\ud83d"}),
    "no requirement": ("labels", {"selector": ","}),
    "a requirement of another kind": ("labels", {"selector": "env in (prod)"}),
    "a requirement with a line": ("labels", {"selector": "env=prod\n"}),
    "too many requirements": ("labels", {"selector": ",".join(f"l{n}" for n in range(17))}),
    "one requirement too often": ("labels", {"selector": ",".join(["l"] * 17)}),
    "label too long": ("labels", {"selector": "l" * 201}),
    "value of a label too long": ("labels", {"selector": f"l={'v' * 201}"}),
    "selector too long": ("labels", {"selector": f"l{' ' * 8_192},m"}),
    "no slot": ("slots", {"slots": 0}),
    "too many slots": ("slots", {"slots": 4_097}),
    "nothing of a resource": ("resources.cpu", {"resources": {"cpu": 0}}),
    "too much of a resource": ("resources.cpu", {"resources": {"cpu": (1 << 53) + 1}}),
    "too many resources": ("resources", {"resources": {f"r{n}": 1 for n in range(17)}}),
    "a resource without a name": ("resources", {"resources": {"": 1}}),
    "resource too long": ("resources", {"resources": {"r" * 64: 1}}),
    "a resource in capitals": ("resources", {"resources": {"CPU": 1}}),
    "a resource with a line": ("resources", {"resources": {"cpu\n": 1}}),
    "a resource of half a character": ("resources", {"resources": {"\ud83d": 1}}),
    "too many limits": ("limits", {"limits": {f"k{n}": 1 for n in range(9)}}),
    "a limit of none": ("limits.k", {"limits": {"k": 0}}),
    "limit too great": ("limits.k", {"limits": {"k": 100_001}}),
    "a limit without a key": ("limits", {"limits": {"": 1}}),
    "key of a limit too long": ("limits", {"limits": {"k" * 201: 1}}),
    "key of a limit with a line": ("limits", {"limits": {"k\n": 1}}),
    "key of a limit that is ours": ("limits", {"limits": {"\x1fpool:default": 1}}),
    "key of a limit of half a character": ("limits", {"limits": {"\ud83d": 0}}),
    "too many rates": ("rate", {"rates": {f"k{n}": MINUTE for n in range(9)}}),
    "a rate of none": ("rate.k", {"rates": {"k": Rate(0, 60_000)}}),
    "rate too great": ("rate.k", {"rates": {"k": Rate(1_001, 60_000)}}),
    "rate over too short a time": ("rate.k", {"rates": {"k": Rate(1, 999)}}),
    "rate over too long a time": ("rate.k", {"rates": {"k": Rate(1, DAY_MS + 1)}}),
    "a rate without a key": ("rate", {"rates": {"": MINUTE}}),
    "key of a rate of half a character": ("rate", {"rates": {"\ud83d": Rate(0, 0)}}),
    "workspace too long": ("workspace", {"workspace": "w" * 64}),
    "workspace with a path": ("workspace", {"workspace": "../w"}),
    "skipped for want of what it does not need": ("when_taken", {"when_taken": WhenTaken.SKIP}),
    "replaces whom it does not need to": ("when_taken", {"when_taken": WhenTaken.REPLACE, "unique_key": "k"}),
    "unique key too long": ("unique_key", {"unique_key": "k" * 201}),
    "unique key with a line": ("unique_key", {"unique_key": "k\n"}),
    "unique key of half a character": ("unique_key", {"unique_key": "\ud83d"}),
    "a conflict about nothing": ("on_conflict", {"on_conflict": OnConflict.USE_EXISTING}),
    "fairness key too long": ("fairness_key", {"fairness_key": "k" * 201}),
    "fairness key with what is not seen": ("fairness_key", {"fairness_key": "k\u200b"}),
    "no weight": ("fairness_weight", {"fairness_key": "k", "fairness_weight": 0}),
    "weight too great": ("fairness_weight", {"fairness_key": "k", "fairness_weight": 1_001}),
    "the weight of nothing": ("fairness_weight", {"fairness_weight": 2}),
    "silence too short": ("heartbeat_timeout", {"heartbeat_timeout_ms": 999}),
    "silence too long": ("heartbeat_timeout", {"heartbeat_timeout_ms": 7 * DAY_MS + 1}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_within_a_limit_is_accepted(name: str) -> None:
    validate(make_submission(**GOOD[name]), BUILT_IN)


@pytest.mark.parametrize("name", BAD)
def test_what_is_past_a_limit_is_refused_by_the_name_of_its_field(name: str) -> None:
    field, submission = BAD[name]
    with pytest.raises(InvalidTask) as refused:
        validate(make_submission(**submission), BUILT_IN)
    assert [error.field for error in refused.value.errors] == [field]
    refused.value.message.encode()  # which half a character could not be


def test_each_of_it_makes_another_digest_and_without_it_the_digest_is_as_it_was() -> None:
    plain = make_submission(payload=b'{"a": 1}')
    asked = [fields for name, fields in GOOD.items() if name != "by rule"]
    digests = {digest(make_submission(payload=b'{"a": 1}', **fields)) for fields in asked}

    assert len(digests) == len(asked)
    assert digest(plain) not in digests
    assert digest(plain).hex() == "44e078a9b2ca1634f1ed33f478fbf0bb01a4ff98abac22b4234ae92beed6f009"


def test_the_digest_is_of_what_is_asked_however_it_is_written() -> None:
    one = make_submission(selector="env=prod, gpu", limits={"a": 1, "b": 2}, priority=0)
    same = make_submission(selector="gpu,env==prod,gpu", limits={"b": 2, "a": 1}, priority=50)

    assert digest(one) == digest(same)
