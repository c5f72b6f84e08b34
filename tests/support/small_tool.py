"""A small program in the place of ansible-playbook: it would add a line to one file, and does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.rest import Json

PROGRAM = """#!/bin/sh
case " $* " in *" --check "*) cat {target}; echo "web1 : ok=1 changed=1";; *) echo applied >> {target};; esac
"""
PAYLOAD: Json = {"tool": "ansible", "source": "- hosts: all\n"}


class SmallTool:
    """The program, and what it changes."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "target"
        self.target.write_text("before\n")
        self._bin = folder / "bin"
        self._bin.mkdir()
        program = self._bin / "ansible-playbook"
        program.write_text(PROGRAM.format(target=self.target))
        program.chmod(0o700)

    @property
    def env(self) -> Mapping[str, str]:
        """What an agent needs to find it."""
        return {"PATH": f"{self._bin}:{os.environ['PATH']}"}

    @property
    def applied(self) -> int:
        """How often it has changed something."""
        return self.target.read_text().splitlines().count("applied")
