"""What takes long to load, loaded when it is first used: help, completion and wrong usage are answered without it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["grpc", "sdk", "yaml"]


class _Late:
    """Stands for a module until something of it is asked for."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import grpc
    import yaml

    from nodelink import client as sdk
else:
    grpc = _Late("grpc")
    sdk = _Late("nodelink.client")
    yaml = _Late("yaml")
