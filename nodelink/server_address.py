"""Where the server is, for whoever was not told: NODELINK_SERVER, what a local server has written, or a default."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULT_SERVER = "127.0.0.1:50051"
LOCAL_ADDRESSES = Path(".nodelink") / "addresses.json"
VARIABLE = "NODELINK_SERVER"


def find_server(environment: Mapping[str, str] | None = None, *, path: Path = LOCAL_ADDRESSES) -> str:
    """The gRPC address `host:port` of the server to talk to. Without an environment: that of this process."""
    named = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
    return named or local_server(path) or DEFAULT_SERVER


def local_server(path: Path) -> str | None:
    """The gRPC address that a server has written, or None if there is none."""
    addresses = read_addresses(path)
    return str(addresses["grpc"]) if addresses else None


def read_addresses(path: Path) -> dict[str, Any] | None:
    """What a server has written about itself: `grpc`, `http`, `pid`. None: nothing that can be used."""
    try:
        addresses = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return addresses if isinstance(addresses, dict) and isinstance(addresses.get("grpc"), str) else None
