"""Terraform and OpenTofu, which are called alike: `plan -out` makes a plan, `apply` of that file applies it.

No backend is configured, so the state is the file `terraform.tfstate` in the directory where they run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodelink.plan_payload import PlanPayload
from nodelink_agent.tools.runner import Runner, ToolFiles


def _init(_payload: PlanPayload, _files: ToolFiles) -> Sequence[str]:
    return ["init", "-backend=false", "-input=false", "-no-color"]


def _check(_payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    written = [f"-out={files.plan}", f"-var-file={files.variables}"]
    return ["plan", "-detailed-exitcode", "-input=false", "-no-color", *written]


def _show(_payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    return ["show", "-no-color", str(files.plan)]


def _apply(_payload: PlanPayload, files: ToolFiles) -> Sequence[str]:
    return ["apply", "-input=false", "-no-color", str(files.plan)]


def _environment(files: ToolFiles) -> Mapping[str, str]:
    return {
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": str(files.settings),  # empty: nothing of the machine's own decides what a plan says
        "TF_DATA_DIR": str(files.scratch),
        "TF_IN_AUTOMATION": "1",
    }


def _runner(name: str) -> Runner:
    return Runner(
        name=name,
        program=name,
        text_name="main.tf",
        init=_init,
        check=_check,
        show=_show,
        apply=_apply,
        environment=_environment,
    )


TERRAFORM, TOFU = _runner("terraform"), _runner("tofu")
