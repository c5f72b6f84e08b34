"""What of the peers is installed: scripts/peers does it, part by part, and says why if it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

PINNED = ("celery", "dramatiq", "huey", "taskiq", "taskiq-redis", "arq", "redis", "hiredis", "uvloop")
ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".tools" / "peers"


async def missing(parts: Sequence[str]) -> dict[str, str]:
    """Install these parts; of those that cannot be, why."""
    found = {}
    for part in dict.fromkeys(parts):
        process = await asyncio.create_subprocess_exec(
            ROOT / "scripts" / "peers", part, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        _, said = await process.communicate()
        if process.returncode:
            found[part] = (said.decode(errors="replace").strip().splitlines() or ["scripts/peers failed"])[-1]
    return found


def versions() -> dict[str, str]:
    """What the peers and their brokers are measured in: the pinned versions, and those of Debian's packages."""
    found: dict[str, str] = {}
    for name in ("requirements", "requirements-arq"):
        pins = dict(_pins(ROOT / "benchmarks" / "peers" / f"{name}.txt"))
        found |= {(f"{one} (arq)" if one in found else one): pins[one] for one in PINNED if one in pins}
    for broker in ("redis", "rabbitmq"):
        packages = PEERS / broker / "packages"
        lines = packages.read_text(encoding="utf-8").split() if packages.exists() else []
        found |= {
            name: unquote(version)
            for name, version, *_ in (line.split("_") for line in lines)
            if name == f"{broker}-server"
        }
    return found


def _pins(requirements: Path) -> Iterator[tuple[str, str]]:
    for line in requirements.read_text(encoding="utf-8").splitlines():
        name, is_pin, version = line.partition("==")
        if is_pin:
            yield name, version
