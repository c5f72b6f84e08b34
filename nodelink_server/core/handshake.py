"""What an agent says when it connects, and what of it is refused whoever the agent is."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nodelink.errors import HandshakeRefused
from nodelink.plan import DEFAULT_PLAN_LIMIT
from nodelink.quantities import LARGEST_QUANTITY, MOST_RESOURCES, RESOURCE_NAME, format_quantity
from nodelink.task import EXTEND, Execution, HeldAttempt
from nodelink_server.core.characters import NAME

MOST_SLOTS = 4_096
MOST_TYPES = 256
MOST_CHARS = 200
SECRET_BYTES = 32
FEATURES = frozenset({EXTEND})
"""The optional parts of the protocol that this server knows."""
LAST_SESSION = (1 << 63) - 1
"""The greatest session number that a database can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What an agent says of itself when it connects."""

    agent_id: str
    secret: bytes
    session: int
    remembers_since: int
    host_id: str
    name: str
    pool: str
    slots: int
    handlers: Mapping[str, Execution]
    labels: Mapping[str, str] = field(default_factory=dict)
    software_version: str = ""
    held: Sequence[HeldAttempt] = ()
    protocol: int = 2
    instance_id: str = ""
    process_since: int = 1
    features: Collection[str] = ()
    """The optional parts of the protocol that it knows."""
    resources: Mapping[str, int] = field(default_factory=dict)
    """What it has of each, in thousandths."""
    type_limits: Mapping[str, int] = field(default_factory=dict)
    """How many tasks of a type it runs at a time at most."""
    plan_limit: int = DEFAULT_PLAN_LIMIT
    """How many plans it makes at a time at most."""


def check_hello(hello: Hello) -> None:
    """Raise `HandshakeRefused` for what no agent may say of itself."""
    if len(hello.secret) != SECRET_BYTES or not hello.agent_id:
        raise HandshakeRefused("an agent needs an id and a secret of 32 bytes")
    if not 1 <= hello.slots <= MOST_SLOTS:
        raise HandshakeRefused(f"{hello.slots} slots; 1 to {MOST_SLOTS} are allowed")
    if not 1 <= len(hello.handlers) <= MOST_TYPES or not hello.host_id:
        raise HandshakeRefused(f"an agent needs a host and 1 to {MOST_TYPES} handlers")
    if not NAME.fullmatch(hello.pool) or not all(NAME.fullmatch(type) for type in hello.handlers):
        raise HandshakeRefused("pools and types are named by 1 to 63 letters, digits, '.', '_' or '-'")
    if max(map(len, (hello.agent_id, hello.name, hello.host_id, hello.software_version))) > MOST_CHARS:
        raise HandshakeRefused(f"a name or an id has more than {MOST_CHARS} characters")
    if not 1 <= hello.remembers_since <= hello.session <= LAST_SESSION:
        raise HandshakeRefused("remembers_since must be a session that is not later than this one")
    _check_resources(hello.resources)
    _check_type_limits(hello.type_limits)
    if not 1 <= hello.plan_limit <= MOST_SLOTS:
        raise HandshakeRefused(f"{hello.plan_limit} plans at a time; 1 to {MOST_SLOTS} are allowed")


def _check_resources(resources: Mapping[str, int]) -> None:
    if len(resources) > MOST_RESOURCES:
        raise HandshakeRefused(f"{len(resources)} resources; at most {MOST_RESOURCES} are allowed")
    if not all(map(RESOURCE_NAME.fullmatch, resources)):
        raise HandshakeRefused("resources are named by 1 to 63 small letters, digits, '_', '.', '/' or '-'")
    if not all(0 <= amount <= LARGEST_QUANTITY for amount in resources.values()):
        raise HandshakeRefused(f"of a resource an agent has at most {format_quantity(LARGEST_QUANTITY)}")


def _check_type_limits(type_limits: Mapping[str, int]) -> None:
    if len(type_limits) > MOST_TYPES or not all(map(NAME.fullmatch, type_limits)):
        raise HandshakeRefused(f"at most {MOST_TYPES} types have limits, each by a name that a type can have")
    if not all(1 <= most <= MOST_SLOTS for most in type_limits.values()):
        raise HandshakeRefused(f"the limit of a type is 1 to {MOST_SLOTS}")


def hash_of(secret: bytes) -> bytes:
    """What is kept of an agent's secret."""
    return hashlib.sha256(secret).digest()
