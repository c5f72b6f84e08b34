"""Ansible: `--check --diff` makes a plan, the play applies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodelink.plan_payload import PlanPayload
from nodelink_agent.tools.runner import Runner, ToolFiles

HERE = 'localhost ansible_connection=local ansible_python_interpreter="{{ ansible_playbook_python }}"\n'
"""The inventory of who gives none: the agent's machine, and no inventory of that machine."""


def _words(payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    limit = [f"--limit={payload.limit}"] if payload.limit else []
    return [f"--inventory={files.inventory}", f"--extra-vars=@{files.variables}", *limit, str(files.main)]


def _check(payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    # One host after the other, because two checks are to say the same in the same order.
    return ["--check", "--diff", "--forks=1", *_words(payload, files)]


def _apply(payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    return ["--diff", *_words(payload, files)]


def _environment(files: ToolFiles) -> Mapping[str, str]:
    return {
        "ANSIBLE_HOME": str(files.scratch),
        "ANSIBLE_LOCAL_TEMP": str(files.scratch / "local"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
    }


ANSIBLE = Runner(
    name="ansible",
    program="ansible-playbook",
    text_name="playbook.yml",
    default_inventory=HERE,
    check=_check,
    apply=_apply,
    environment=_environment,
)
