"""What people change that is no task is audited: who, what, how it was and is. Nothing is, of what changed nothing."""

from __future__ import annotations

import hashlib

import pytest

from nodelink.errors import BlobConflict, DigestMismatch, StateChanged, StoreUnavailable
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.core.deeds import Deed
from nodelink_server.core.workspace_states import NO_STATE
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


async def upload(core: Core, data: bytes, workspace: str = "", **by: str) -> str:
    """Have bytes, the last of them by somebody. Returns their SHA-256."""
    name = UploadName(hashlib.sha256(data).hexdigest(), len(data), workspace)
    if not (await core.manager.blobs.announce(name, **by)).is_complete:
        await core.manager.blobs.append(name, 0, data, **by)
    return name.sha256


async def test_bytes_that_a_workspace_has_are_audited_with_who_sent_the_last_of_them() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        core.database.disk.deeds.clear()
        sha256 = await upload(core, b"bytes", by="anna")
        await upload(core, b"bytes", by="otto, who has nothing to send any more")
        await upload(core, b"bytes", "site", by="anna")
        empty = await upload(core, b"")

        assert deeds(core) == [
            ("blob_kept", "anna", f"blob:{sha256}", None, {"workspace": "", "size": 5}),
            ("blob_kept", "anna", f"blob:{sha256}", None, {"workspace": "site", "size": 5}),
            ("blob_kept", "local", f"blob:{empty}", None, {"workspace": "", "size": 0}),
        ]


async def test_bytes_that_are_refused_are_not_audited() -> None:
    async with running_core() as core:
        name = UploadName(hashlib.sha256(b"right").hexdigest(), 5)
        await core.manager.blobs.announce(name)
        with pytest.raises(DigestMismatch):
            await core.manager.blobs.append(name, 0, b"wrong")
        assert core.database.disk.deeds == list[Deed]()


async def test_an_artifact_is_audited_once_with_its_digest() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        sha256, other = await upload(core, b"bytes"), await upload(core, b"other")
        core.database.disk.deeds.clear()
        attach = core.manager.artifacts.attach
        await attach(task_id, "in.tar", sha256, by="anna")
        await attach(task_id, "in.tar", sha256, by="otto")
        with pytest.raises(BlobConflict):
            await attach(task_id, "in.tar", other)

        told = {"artifact": "in.tar", "attempt": 0, "sha256": sha256, "size": 5}
        assert deeds(core) == [("artifact_attached", "anna", f"task:{task_id}", None, told)]


async def test_a_state_is_audited_with_the_one_that_it_replaces() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        one, two = await upload(core, b"one", "site"), await upload(core, b"two!", "site")
        core.database.disk.deeds.clear()
        save = core.manager.workspace_states.save
        first = await save("site", one, if_match=NO_STATE, by="anna")
        await save("site", one, if_match=NO_STATE, by="anna, who has not heard the answer")
        await save("site", two, if_match=first.etag)
        with pytest.raises(StateChanged):
            await save("site", two, if_match=NO_STATE)

        before = {"version": 1, "sha256": one, "size": 3, "task_id": ""}
        after = {"version": 2, "sha256": two, "size": 4, "task_id": ""}
        assert deeds(core) == [
            ("state_saved", "anna", "workspace:site", None, before),
            ("state_saved", "local", "workspace:site", before, after),
        ]


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
