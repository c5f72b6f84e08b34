"""What of the peers is installed: scripts/peers does it, part by part, and says why if it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

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
