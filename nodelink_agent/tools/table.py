"""The tools that an agent can be given, by name."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink_agent.tools.ansible import ANSIBLE
from nodelink_agent.tools.runner import Runner

RUNNERS: Mapping[str, Runner] = {runner.name: runner for runner in (ANSIBLE,)}
