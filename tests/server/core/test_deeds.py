"""What people change that is no task is audited: who, what, how it was and is. Nothing is, of what changed nothing."""

from __future__ import annotations

import pytest

from nodelink.errors import StoreUnavailable
from nodelink_server.core.ports import Deed
from tests.support.core_parts import Core, running_core
from tests.support.fake_agent import FakeAgent

HOUR = 3_600_000


def deeds(core: Core) -> list[tuple[object, ...]]:
    """What has been audited, without when."""
    return [(deed.kind, deed.by, deed.about, deed.before, deed.after) for deed in core.database.disk.deeds]


async def test_a_limit_that_is_set_is_audited_with_what_it_was() -> None:
    async with running_core() as core:
        limits = core.manager.limits
        await limits.set("pool:default", 5, by="anna")
        await limits.set("pool:default", 5, by="otto")
        await limits.set("pool:default", 0)
        await limits.remove("pool:default", by="anna")
        await limits.remove("pool:default", by="otto")
        assert deeds(core) == [
            ("limit_set", "anna", "pool:default", None, {"most": 5}),
            ("limit_set", "local", "pool:default", {"most": 5}, {"most": 0}),
            ("limit_removed", "anna", "pool:default", {"most": 0}, None),
        ]
        assert {deed.at for deed in core.database.disk.deeds} == {core.clock.now()}


async def test_a_workspace_that_is_made_changed_or_removed_is_audited() -> None:
    async with running_core() as core:
        workspaces = core.manager.workspaces
        await workspaces.create("site", pool="default", mode="agent", by="anna")
        await workspaces.change("site", pool="web", mode="local")
        await workspaces.change("site", pool="web", mode="local", by="otto")
        await workspaces.remove("site", by="anna")
        [made, changed, removed] = core.database.disk.deeds
        assert (made.kind, made.by, made.about, made.before) == ("workspace_created", "anna", "workspace:site", None)
        assert (changed.kind, changed.by, changed.before) == ("workspace_changed", "local", made.after)
        assert (removed.kind, removed.before, removed.after) == ("workspace_removed", changed.after, None)
        assert changed.after is not None
        assert (changed.after["pool"], changed.after["mode"]) == ("web", "local")


async def test_a_drain_is_audited_with_its_note_and_deadline_and_so_is_its_end() -> None:
    async with running_core() as core:
        await FakeAgent(core, agent_id="a1").connect()
        await core.manager.drain_agent("a1", note="a new disk", deadline_ms=HOUR, by="anna")
        since = core.clock.now()
        await core.manager.undrain("a1", by="otto")
        await core.manager.undrain("a1", by="nobody, for it has work already")
        drained = {"drained_at": since, "drain_deadline": since + HOUR, "drain_note": "a new disk"}
        assert deeds(core) == [
            ("agent_drained", "anna", "agent:a1", {}, drained),
            ("agent_undrained", "otto", "agent:a1", drained, {}),
        ]


async def test_a_cordon_is_audited_as_the_servers_own_deed() -> None:
    async with running_core() as core:
        await FakeAgent(core, agent_id="a1").connect()
        core.manager.agents.cordon("a1", "it fails to start what it is given")
        await core.manager.ledger.commit()
        cordoned = {"cordon": "it fails to start what it is given"}
        assert deeds(core) == [("agent_cordoned", "server", "agent:a1", {}, cordoned)]


async def test_what_could_not_be_made_durable_is_not_audited() -> None:
    async with running_core() as core:
        await FakeAgent(core, agent_id="a1").connect()
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.manager.limits.set("running", 1)
        with pytest.raises(StoreUnavailable):
            await core.manager.drain_agent("a1")
        core.database.failing.clear()
        await core.manager.ledger.commit()
        assert core.database.disk.deeds == list[Deed]()
