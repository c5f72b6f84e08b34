"""The options of `run` and `submit` that say where a task runs, beside whom, and in whose turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import click

from nodelink.cli.candidates import agent_ids
from nodelink.cli.choice import Choice
from nodelink.task import OnConflict, WhenTaken


class PlacingOptions(TypedDict):
    """The options as click hands them over."""

    agent_id: str | None
    labels: str | None
    slots: int
    resources: Mapping[str, str]
    limits: Mapping[str, int]
    rate: Mapping[str, str]
    when_taken: str
    workspace: str | None
    unique_key: str | None
    on_conflict: str
    fairness_key: str | None
    fairness_weight: int


def _read_values(_context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Mapping[str, str]:
    """Options of the form KEY=VALUE, whose values have no `=`, as what they say together."""
    pairs = [text.rpartition("=") for text in given]
    for text, (key, _, value) in zip(given, pairs, strict=True):
        if not key or not value:
            raise click.BadParameter(f"{text!r} is not of the form {parameter.metavar}")
    return {key: value for key, _, value in pairs}


def _read_limits(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Mapping[str, int]:
    values = _read_values(context, parameter, given)
    for key, value in values.items():
        if not (value.isascii() and value.isdecimal()):
            raise click.BadParameter(f"'{key}={value}' is not of the form {parameter.metavar}")
    return {key: int(value) for key, value in values.items()}


def _joined(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> str | None:
    return ",".join(given) if given else None


def _underscored(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    return given.replace("-", "_")


PLACING_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--agent", "agent_id", metavar="ID", shell_complete=agent_ids, help="The only agent that may run it, by its id."
    ),
    click.option(
        "--label",
        "labels",
        metavar="REQUIREMENT",
        multiple=True,
        callback=_joined,
        help="What a label of its agent has to be: name=value, name!=value, name or !name. May be repeated.",
    ),
    click.option(
        "--slots",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="How many slots of its agent it takes.",
    ),
    click.option(
        "--resource",
        "resources",
        metavar="NAME=AMOUNT",
        multiple=True,
        callback=_read_values,
        help="What it takes of its agent's resources, like cpu=0.5 or memory=8GiB. May be repeated.",
    ),
    click.option(
        "--limit",
        "limits",
        metavar="KEY=N",
        multiple=True,
        callback=_read_limits,
        help="Start only while fewer than N tasks that are with agents name the key. May be repeated.",
    ),
    click.option(
        "--rate",
        metavar="KEY=N/DURATION",
        multiple=True,
        callback=_read_values,
        help="Of the tasks that name the key, start N at most in such a time, like mail=10/1m. May be repeated.",
    ),
    click.option(
        "--when-taken",
        type=Choice(list(WhenTaken)),
        default=WhenTaken.WAIT.value,
        show_default=True,
        help="If its lock, a limit, a rate or its workspace has no place left: wait, be skipped or replace them.",
    ),
    click.option("--workspace", metavar="NAME", help="The workspace that it works in, one task at a time."),
    click.option("--unique-key", metavar="KEY", help="Of the tasks that have not ended, at most one has it."),
    click.option(
        "--on-conflict",
        type=Choice([choice.replace("_", "-") for choice in OnConflict]),
        default=OnConflict.FAIL.value,
        show_default=True,
        callback=_underscored,
        help="If another has the unique key: fail, take that task for this one, or stop it and follow it.",
    ),
    click.option("--fairness-key", metavar="KEY", help="The keys of a pool share it, however much of one waits."),
    click.option(
        "--fairness-weight",
        metavar="N",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="How much of the pool its key is due, beside the others.",
    ),
    click.option(
        "--approval-timeout",
        metavar="DURATION",
        help="Of a plan_and_apply: how long its plan may wait for an approval, like 4h.",
    ),
    click.option(
        "--approval-by-other",
        is_flag=True,
        help="Of a plan_and_apply: somebody else than you has to approve its plan.",
    ),
)
