"""Which version this is. Looking it up takes a while, so it is loaded only by those who ask."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "nodelink"


def own_version() -> str:
    """The version that is installed here; `unknown` for a source tree that is not."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"
