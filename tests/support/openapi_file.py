"""docs/openapi.json, made from the code. `python -m tests.support.openapi_file` writes it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from uuid import uuid4

from nodelink_server.clock import SystemClock
from nodelink_server.core.manager import TaskManager
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.web.app import create_app
from nodelink_server.web.openapi import description

ROOT = Path(__file__).parents[2]
OPENAPI_FILE = ROOT / "docs" / "openapi.json"


def openapi_text() -> str:
    """The description of the interface as this code has it."""
    manager = TaskManager(store=MemoryStore(Disk()), clock=SystemClock(), new_id=lambda: str(uuid4()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    app = create_app(manager, version=project["version"])
    return json.dumps(description(app), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OPENAPI_FILE.write_text(openapi_text(), encoding="utf-8")
