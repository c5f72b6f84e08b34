"""How gRPC is to work in a server and in an agent. It reads this from the environment once, when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

WANTED: Mapping[str, str] = {
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # no fork handlers
    "GRPC_VERBOSITY": "ERROR",  # no chatter about the ordinary closing of connections
    # The thread that waits for calls reads the sockets too. By default messages are handed over between threads until
    # they reach it: twice the switches, and a single task takes a quarter longer from its call to its answer.
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}


def set_up_grpc(environment: MutableMapping[str, str]) -> None:
    """Ask for it, before gRPC is loaded. What a person has set stays."""
    for name, value in WANTED.items():
        environment.setdefault(name, value)
