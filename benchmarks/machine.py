"""What was measured on, and with: what one has to know to judge figures."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("grpcio", "protobuf", "sqlalchemy", "uvicorn", "fastapi")
ROOT = Path(__file__).resolve().parents[1]
CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, object]:
    """For JSON."""
    return {
        "cores": os.cpu_count(),
        "cpu": cpu_model(CPUINFO.read_text(encoding="ascii", errors="replace")),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": commit(ROOT),
    }


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo; the machine's kind where it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def commit(root: Path) -> str:
    """The commit that is checked out, with a plus if files differ from it. Empty where there is no git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
