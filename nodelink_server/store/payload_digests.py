"""Blobs that the payloads of tasks name by their digests, such as the archive that a plan was made of.

What a payload means is its handler's affair; but 64 hexadecimal digits that are the name of a blob stand for nothing
else.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping

from nodelink.task import LIVE
from nodelink_server.store.tables import UNCOMPLETED

MOST_NAMED = 100_000
"""So many blobs are looked for: as many are remembered."""
DIGESTS_AT_ONCE = 1_000

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_STATUSES = ", ".join(f"'{status}'" for status in sorted(LIVE))
_PAYLOADS = (
    "SELECT t.key, s.payload FROM tasks t JOIN task_specs s ON s.task_key = t.key"  # noqa: S608 - names of ours
    f" WHERE t.{UNCOMPLETED} AND t.status IN ({_STATUSES})"
)
_THERE = "SELECT DISTINCT sha256 FROM blobs WHERE sha256 IN (SELECT value FROM json_each(?))"


def blobs_in_payloads(driver: sqlite3.Connection) -> Mapping[str, int]:
    """The digests of blobs that are named by tasks that have not ended, each with the key of one of those."""
    named: dict[str, int] = {}
    if driver.execute("SELECT 1 FROM blobs LIMIT 1").fetchone() is None:
        return named
    digests: dict[str, int] = {}
    for key, payload in driver.execute(_PAYLOADS):
        for found in _DIGEST.findall(payload):
            digests.setdefault(found.decode("ascii"), key)
        if len(digests) >= DIGESTS_AT_ONCE:
            named = _those_of_blobs(driver, digests) | named
            digests.clear()
        if len(named) >= MOST_NAMED:
            break
    return _those_of_blobs(driver, digests) | named


def _those_of_blobs(driver: sqlite3.Connection, digests: Mapping[str, int]) -> dict[str, int]:
    return {sha256: digests[sha256] for (sha256,) in driver.execute(_THERE, (json.dumps(list(digests)),))}
