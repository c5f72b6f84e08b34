"""The tools that an agent can be given, by name."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink_agent.tools.ansible import ANSIBLE
from nodelink_agent.tools.runner import Runner
from nodelink_agent.tools.terraform import TERRAFORM, TOFU

RUNNERS: Mapping[str, Runner] = {runner.name: runner for runner in (ANSIBLE, TERRAFORM, TOFU)}
