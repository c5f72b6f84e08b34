"""The payload of plans: what is accepted, that what is wrong is named, and what decides what is done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nodelink.errors import InvalidTask
from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY
from nodelink.plan_payload import MAX_LIMIT_LENGTH, Archive, PlanPayload, inputs_sha256, read_plan_payload

PLAY = "- hosts: all\n"
DIGEST = "a" * 64
ARCHIVE = {"sha256": DIGEST, "playbook": "site.yml"}


def read(type: str = PLAN, **fields: Any) -> PlanPayload:
    payload = {"tool": "ansible", "source": PLAY, **fields}
    return read_plan_payload(json.dumps(payload).encode(), type=type, tools=["ansible"])


def read_terraform(type: str = PLAN, **fields: Any) -> PlanPayload:
    payload = {"tool": "terraform", "source": "# nothing\n", **fields}
    return read_plan_payload(json.dumps(payload).encode(), type=type, tools=["ansible", "terraform"])


def test_a_tool_and_a_text_are_enough() -> None:
    assert read() == PlanPayload(tool="ansible", source=PLAY)


def test_everything_can_be_given() -> None:
    source = {**ARCHIVE, "inventory": "env/prod.ini"}
    assert read(APPLY, source=source, limit="web*:!old", variables={"a": [1]}, plan=DIGEST) == PlanPayload(
        tool="ansible",
        source=Archive(sha256=DIGEST, playbook="site.yml", inventory="env/prod.ini"),
        limit="web*:!old",
        variables={"a": [1]},
        plan=DIGEST,
    )


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"tool": "puppet"}, "tool"),
        ({"tool": None}, "tool"),
        ({"source": None}, "source"),
        ({"source": " "}, "source"),
        ({"source": "site.yml"}, "source"),
        ({"source": "/srv/site.yaml"}, "source"),
        ({"source": "a\0b"}, "source"),
        ({"source": {"playbook": "site.yml"}}, "source.sha256"),
        ({"source": {**ARCHIVE, "sha256": "A" * 64}}, "source.sha256"),
        ({"source": {"sha256": DIGEST}}, "source.playbook"),
        ({"source": {**ARCHIVE, "playbook": "/srv/site.yml"}}, "source.playbook"),
        ({"source": {**ARCHIVE, "playbook": "a/../../site.yml"}}, "source.playbook"),
        ({"source": {**ARCHIVE, "playbook": "--help"}}, "source.playbook"),
        ({"source": {**ARCHIVE, "inventory": "../hosts"}}, "source.inventory"),
        ({"source": {**ARCHIVE, "path": "/srv"}}, "source.path"),
        ({"source": {**ARCHIVE, "inventory": "hosts"}, "inventory": "web1\n"}, "inventory"),
        ({"inventory": 7}, "inventory"),
        ({"limit": "@/etc/hosts"}, "limit"),
        ({"limit": "web,@/etc/hosts"}, "limit"),
        ({"limit": "a\nb"}, "limit"),
        ({"limit": "a" * (MAX_LIMIT_LENGTH + 1)}, "limit"),
        ({"variables": ["a"]}, "variables"),
        ({"variables": {"a b": 1}}, "variables"),
        ({"variables": {"a-b": 1}}, "variables"),
        ({"plan": DIGEST}, "plan"),
        ({"check": True}, "check"),
    ],
)
@pytest.mark.parametrize("type", [PLAN, PLAN_AND_APPLY])
def test_what_is_wrong_is_named(type: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read(type, **fields)
    assert [error.field for error in refusal.value.errors] == [field]


def test_a_configuration_is_a_text_or_a_directory_of_an_archive() -> None:
    within = {"sha256": DIGEST, "directory": "envs/prod"}
    assert read_terraform(variables={"a": [1], "b-c": 2}).variables == {"a": [1], "b-c": 2}
    assert read_terraform(source={"sha256": DIGEST}).source == Archive(sha256=DIGEST)
    assert read_terraform(APPLY, source=within, plan=DIGEST).source == Archive(sha256=DIGEST, directory="envs/prod")


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"tool": "tofu"}, "tool"),
        ({"source": "main.tf"}, "source"),
        ({"source": {"directory": "envs"}}, "source.sha256"),
        ({"source": {**ARCHIVE}}, "source.playbook"),
        ({"source": {"sha256": DIGEST, "directory": "../envs"}}, "source.directory"),
        ({"source": {"sha256": DIGEST, "directory": "/srv"}}, "source.directory"),
        ({"inventory": "web1\n"}, "inventory"),
        ({"limit": "web1"}, "limit"),
        ({"variables": {"a b": 1}}, "variables"),
        ({"variables": {"-a": 1}}, "variables"),
        ({"backend": "s3"}, "backend"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read_terraform(**fields)
    assert [error.field for error in refusal.value.errors] == [field]


@pytest.mark.parametrize("payload", [b"not json", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read_plan_payload(payload, type=PLAN, tools=["ansible"])
    assert [error.field for error in refusal.value.errors] == ["payload"]


def test_an_apply_has_to_name_its_plan() -> None:
    with pytest.raises(InvalidTask) as refusal:
        read(APPLY)
    assert [error.field for error in refusal.value.errors] == ["plan"]


@pytest.mark.parametrize(
    "fields, changed",
    [
        ({"source": PLAY + "\n"}, "source"),
        ({"source": ARCHIVE}, "source"),
        ({"inventory": "web1\n"}, "inventory"),
        ({"limit": "web1"}, "limit"),
        ({"variables": {"a": 2}}, "variables"),
    ],
)
def test_each_input_has_a_digest_of_its_own(fields: dict[str, Any], changed: str) -> None:
    before, after = read(variables={"a": 1}).inputs(), read(**{"variables": {"a": 1}, **fields}).inputs()
    assert [name for name in before if before[name] != after[name]] == [changed]
    assert inputs_sha256(before) != inputs_sha256(after)


def test_the_plan_and_the_order_of_variables_are_no_inputs() -> None:
    plan, apply = read(variables={"a": 1, "b": 2}), read(APPLY, variables={"b": 2, "a": 1}, plan=DIGEST)
    assert plan.inputs() == apply.inputs()


def test_the_directory_and_the_workspace_are_inputs_of_a_configuration() -> None:
    top = read_terraform(source={"sha256": DIGEST})
    within = read_terraform(source={"sha256": DIGEST, "directory": "envs"})
    before, after = top.inputs("site"), within.inputs("lab")
    assert [name for name in before if before[name] != after[name]] == ["source", "workspace"]


def test_the_workspace_is_no_input_of_a_playbook() -> None:
    assert read().inputs("site") == read().inputs()
