"""The payload of a shell task: what is accepted, and that what is wrong is named."""

from __future__ import annotations

import json

import pytest

from nodelink.errors import InvalidTask
from nodelink_agent.handlers.shell_payload import ShellPayload, read_payload


def test_text_is_for_the_shell() -> None:
    assert read_payload(b'{"command": "echo hi | cat"}') == ShellPayload(argv=["/bin/sh", "-c", "echo hi | cat"])


def test_a_list_is_a_program_and_its_arguments() -> None:
    payload = {"command": ["echo", "", "a b"], "env": {"A": ""}, "cwd": "/tmp", "stdin": "grün"}
    assert read_payload(json.dumps(payload).encode()) == ShellPayload(
        argv=["echo", "", "a b"], env={"A": ""}, cwd="/tmp", stdin="grün".encode()
    )


def test_null_is_as_if_left_out() -> None:
    payload = b'{"command": "true", "env": null, "cwd": null, "stdin": null}'
    assert read_payload(payload) == read_payload(b'{"command": "true"}')


@pytest.mark.parametrize(
    "payload,field",
    [
        ("not json", "payload"),
        ('"text"', "payload"),
        ("{}", "command"),
        ('{"command": " "}', "command"),
        ('{"command": []}', "command"),
        ('{"command": 7}', "command"),
        ('{"command": ["a", 7]}', "command[1]"),
        ('{"command": [""]}', "command[0]"),
        (r'{"command": "a\u0000b"}', "command"),
        (r'{"command": ["a", "\ud800"]}', "command[1]"),
        ('{"command": "true", "env": []}', "env"),
        ('{"command": "true", "env": {"A": 1}}', "env.A"),
        ('{"command": "true", "env": {"A=B": "1"}}', "env"),
        ('{"command": "true", "env": {"": "1"}}', "env"),
        ('{"command": "true", "env": {"NODELINK_FENCE": "1"}}', "env.NODELINK_FENCE"),
        ('{"command": "true", "cwd": 1}', "cwd"),
        ('{"command": "true", "cwd": "here"}', "cwd"),
        ('{"command": "true", "stdin": 1}', "stdin"),
        (r'{"command": "true", "stdin": "\udc00"}', "stdin"),
        ('{"command": "true", "timeout": 1}', "timeout"),
    ],
)
def test_what_is_wrong_is_named(payload: str, field: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read_payload(payload.encode())
    assert [error.field for error in refusal.value.errors] == [field]


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(InvalidTask, match="payload"):
        read_payload(b'{"command": "\xff"}')
