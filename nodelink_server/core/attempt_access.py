"""What an agent may have for the sake of an attempt: who asks has to prove that it is the agent that has it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from nodelink.errors import NotAllowed, NotAuthenticated
from nodelink.task import AttemptRef
from nodelink_server.core.agents import AgentRegistry
from nodelink_server.core.handshake import hash_of
from nodelink_server.core.ports import Store
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProof:
    """Who asks, and for which attempt. The secret is that of the agent's hello."""

    agent_id: str
    secret: bytes = field(repr=False)
    ref: AttemptRef


class AttemptAccess:
    """Knows agents again, and their attempts."""

    def __init__(self, *, store: Store, agents: AgentRegistry) -> None:
        self._store = store
        self._agents = agents

    async def task_of(self, proof: AgentProof) -> Task:
        """The task whose attempt it is. Raises `NotAuthenticated`, and `NotAllowed` if it is not, or no more."""
        self._check_agent(proof)
        for task in await self._store.find([proof.ref.task_id]):
            attempt = task.attempt
            if attempt is None or task.status not in GRANTED:
                break
            if attempt.agent_id == proof.agent_id and task.ref == proof.ref:
                return task
        raise not_current()

    def _check_agent(self, proof: AgentProof) -> None:
        try:
            known = self._agents.record(proof.agent_id).secret_hash
        except KeyError:
            known = b""
        if not hmac.compare_digest(known, hash_of(proof.secret)):
            raise NotAuthenticated("no agent with this id and secret has ever connected")


def not_current() -> NotAllowed:
    """Another attempt is the task's, or it has ended."""
    return NotAllowed("this attempt is not the task's current one, or it has ended")
