"""`/metrics`: what is told, in which form, and that it is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from nodelink.errors import StoreUnavailable
from nodelink.taken import Taken
from nodelink.task import Execution, Gone, Outcome
from nodelink_server import series
from nodelink_server.core.handshake import Hello
from nodelink_server.core.pace import Rhythm
from nodelink_server.core.tally import MOST_KINDS, Buckets
from tests.support.core_parts import eventually
from tests.support.http_door import VERSION, Door, app_door

GONE = Hello(
    agent_id="gone",
    secret=b"s" * 32,
    session=1,
    remembers_since=1,
    host_id="h2",
    name="gone",
    pool="default",
    slots=4,
    handlers={"echo": Execution.REPLAYABLE},
)
HISTOGRAMS = {
    "nodelink_task_queue_seconds",
    "nodelink_task_run_seconds",
    "nodelink_task_total_seconds",
    "nodelink_store_commit_seconds",
    "nodelink_store_commit_rows",
    "nodelink_cleanup_seconds",
    "nodelink_checkpoint_seconds",
    "nodelink_loop_lag_seconds",
}
COUNTERS = {
    "nodelink_tasks_submitted",
    "nodelink_tasks_finished",
    "nodelink_assignments",
    "nodelink_responses",
    "nodelink_response_channel_full",
    "nodelink_events_dropped",
    "nodelink_cleanup_removed",
    "nodelink_cleanup_runs",
    "nodelink_blob_bytes",
    "nodelink_blobs_removed",
    "nodelink_checkpoints",
    "nodelink_task_retries",
    "nodelink_offers",
    "nodelink_leases_expired",
    "nodelink_approvals",
    "nodelink_late_results",
    "nodelink_agent_use_differs",
    "nodelink_hellos_refused",
}
GAUGES = {
    "nodelink_build_info",
    "nodelink_insecure",
    "nodelink_tasks_live",
    "nodelink_agents_connected",
    "nodelink_agents_cordoned",
    "nodelink_agent_slots",
    "nodelink_response_channel_depth",
    "nodelink_response_channel_capacity",
    "nodelink_store_queue_depth",
    "nodelink_events_listeners",
    "nodelink_registry_tasks",
    "nodelink_ready",
    "nodelink_pauses",
    "nodelink_healthy",
    "nodelink_tasks_queued",
    "nodelink_task_longest_wait_seconds",
}


async def test_every_metric_is_there_with_its_type_and_help() -> None:
    async with app_door() as door:
        answer = await door.http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        kinds = (("histogram", HISTOGRAMS), ("counter", COUNTERS), ("gauge", GAUGES))
        assert {name: families[name].type for _, names in kinds for name in names} == {
            name: kind for kind, names in kinds for name in names
        }
        assert all(family.documentation for family in families.values())
        assert {name for name in families if name.startswith("nodelink_")} == HISTOGRAMS | COUNTERS | GAUGES
        assert "python_gc_collections" in families
        assert "process_resident_memory_bytes" in families
        assert f'nodelink_build_info{{version="{VERSION}"}} 1.0' in answer.text


async def test_metrics_count_what_happens() -> None:
    async with app_door() as door, door.agent(slots=3) as agent:
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            task_id = (await door.submit())["id"]
            ref = (await agent.take()).ref
            agent.start(ref)
            agent.finish(ref, outcome=outcome, run_seconds=0.02)
            await door.http.get(f"/api/v1/tasks/{task_id}/result?wait=10s")
        await door.submit(pool="q")
        samples = await read_samples(door)
        assert samples['nodelink_tasks_submitted_total{pool="default",type="echo"}'] == 2
        assert samples['nodelink_tasks_finished_total{pool="default",status="completed",type="echo"}'] == 1
        assert samples['nodelink_tasks_finished_total{pool="default",status="failed",type="echo"}'] == 1
        assert samples['nodelink_tasks_live{pool="q",status="pending"}'] == 1
        assert samples['nodelink_agents_connected{pool="default"}'] == 1
        assert samples['nodelink_agent_slots{pool="default",state="free"}'] <= 3
        assert samples['nodelink_task_run_seconds_count{pool="default",type="echo"}'] == 2
        assert samples['nodelink_task_run_seconds_bucket{le="+Inf",pool="default",type="echo"}'] == 2
        assert samples["nodelink_store_commit_seconds_count"] >= 5


async def test_slots_are_counted_by_what_tasks_take_of_them() -> None:
    async with app_door() as door, door.agent(slots=5) as agent:
        await door.submit(slots=3)
        await door.submit()
        requests = [await agent.take() for _ in range(2)]
        busy = await read_samples(door)
        for request in requests:
            agent.finish(request.ref)
            await door.http.get(f"/api/v1/tasks/{request.ref.task_id}/result?wait=10s")
        idle = await read_samples(door)
        taken, free = (f'nodelink_agent_slots{{pool="default",state="{state}"}}' for state in ("taken", "free"))
        assert [(samples[taken], samples[free]) for samples in (busy, idle)] == [(4, 1), (0, 5)]


async def test_agents_that_go_on_to_count_otherwise_are_counted() -> None:
    async with app_door() as door, door.agent(pool="q") as agent:
        agent.session.rhythm = Rhythm(0.0)
        for number in range(5):
            agent.session.heartbeat(number + 1, load=0.0, draining=False, counted=Taken(1, {}))
        samples = await read_samples(door)
        assert samples['nodelink_agent_use_differs_total{pool="q"}'] == 1


async def test_the_buckets_of_a_histogram_only_grow() -> None:
    async with app_door() as door:
        for _ in range(5):
            await door.submit()
        samples = await read_samples(door)
        counts = [value for name, value in samples.items() if name.startswith("nodelink_store_commit_seconds_bucket")]
        assert counts == sorted(counts)
        assert counts[-1] == samples["nodelink_store_commit_seconds_count"] > 0


def test_what_callers_name_makes_only_so_many_series() -> None:
    values = {(f"pool {number}",): number for number in range(10_000)}
    bounded = series.bounded(values, sum)
    assert len(bounded) == series.MOST_SERIES
    assert sum(bounded.values()) == sum(values.values())
    assert series.OTHER in {name for (name,) in bounded}


def test_series_that_are_too_many_are_counted_together() -> None:
    one, two = Buckets((1, 2)), Buckets((1, 2))
    one.observe(0.5)
    two.observe(5)
    merged = series.merged([one, two])
    assert (merged.counts, merged.sum) == ([1, 0, 1], 5.5)


async def test_an_agent_whose_stream_broke_is_not_connected_and_has_no_slots() -> None:
    async with app_door() as door:
        async with door.agent(slots=4):
            broken, _ = await door.manager.connect(GONE)
            door.manager.disconnect(broken, left=False)
            samples = await read_samples(door)

        assert samples['nodelink_agents_connected{pool="default"}'] == 1
        assert samples['nodelink_agent_slots{pool="default",state="free"}'] == 4
        assert samples['nodelink_agent_slots{pool="default",state="taken"}'] == 0


async def test_an_agent_that_is_kept_from_new_work_is_connected_and_told_as_cordoned() -> None:
    async with app_door() as door, door.agent(slots=4), door.agent(agent_id="a2", pool="p"):
        door.manager.agents.cordon("a1", "its disk is full")
        samples = await read_samples(door)

    assert samples['nodelink_agents_connected{pool="default"}'] == 1
    assert samples['nodelink_agents_cordoned{pool="default"}'] == 1
    assert samples['nodelink_agents_cordoned{pool="p"}'] == 0
    assert samples['nodelink_agent_slots{pool="default",state="free"}'] == 0


async def test_a_task_in_doubt_is_told_by_its_status() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit(execution="exclusive", lock="site"))["id"]
        agent.say((await agent.take()).ref, Gone(message="its machine was restarted"))
        await eventually(lambda: says(door, task_id, "status", "unknown"))
        samples = await read_samples(door)

    assert samples['nodelink_tasks_live{pool="default",status="unknown"}'] == 1
    assert samples['nodelink_offers_total{outcome="accepted"}'] == 1


async def test_a_result_of_an_attempt_that_counts_no_more_is_counted_as_late() -> None:
    async with app_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        ref = (await agent.take()).ref
        await door.http.post(f"/api/v1/tasks/{task_id}/abandon", json={"reason": "its machine is gone"})
        assert (await read_samples(door))["nodelink_late_results_total"] == 0

        agent.finish(ref)
        await eventually(lambda: says(door, task_id, "late_results"))
        assert (await read_samples(door))["nodelink_late_results_total"] == 1


async def test_what_waits_is_told_by_pool_and_band_and_for_how_long() -> None:
    async with app_door() as door:
        for priority in (25, 50, 51, 100):
            await door.submit(pool="p", priority=priority)
        samples = await read_samples(door)

    queued = {name: value for name, value in samples.items() if name.startswith("nodelink_tasks_queued")}
    assert sum(queued.values()) == 4
    assert queued['nodelink_tasks_queued{pool="p",priority="CRITICAL"}'] == 1
    assert queued['nodelink_tasks_queued{pool="p",priority="LOW"}'] == 1
    assert 0 < samples['nodelink_task_longest_wait_seconds{pool="p"}'] < 60


async def test_a_task_that_is_run_again_is_counted() -> None:
    async with app_door() as door:
        task = await door.submit(queue_timeout="1h", pool="p")
        await door.http.post(f"/api/v1/tasks/{task['id']}/cancel")
        assert (await door.http.post(f"/api/v1/tasks/{task['id']}/retry")).status_code == 201
        assert (await read_samples(door))['nodelink_task_retries_total{pool="p",type="echo"}'] == 1


async def test_while_the_database_is_away_the_rest_is_told() -> None:
    away = False

    def fault(kind: str) -> None:
        if away:
            raise StoreUnavailable("the disk is full")

    async with app_door(fault=fault) as door:
        away = True
        assert (await door.http.post("/api/v1/tasks", json={"type": "echo"})).status_code == 503
        samples = await read_samples(door)
        away = False

    assert samples['nodelink_healthy{part="database"}'] == 0
    assert samples["nodelink_ready"] == 0
    assert "nodelink_store_commit_seconds_count" in samples
    assert not [name for name in samples if name.startswith("nodelink_tasks_live")]


async def test_open_metrics_are_told_to_those_who_prefer_them() -> None:
    async with app_door() as door:
        await door.submit()
        answer = await door.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    read: Any = openmetrics.text_string_to_metric_families
    families = {family.name: family for family in read(answer.text)}  # it wants the # EOF
    assert families["nodelink_tasks_submitted"].samples[0].value == 1


async def test_callers_cannot_make_series_without_end() -> None:
    async with app_door() as door:
        for first in range(0, 600, 200):
            tasks = [{"type": "echo", "pool": f"pool-{number}"} for number in range(first, first + 200)]
            assert (await door.http.post("/api/v1/tasks/batch", json={"tasks": tasks})).status_code == 200
        samples = await read_samples(door)

    submitted = {name: value for name, value in samples.items() if name.startswith("nodelink_tasks_submitted")}
    live = {name: value for name, value in samples.items() if name.startswith("nodelink_tasks_live")}
    assert (len(submitted), sum(submitted.values())) == (min(MOST_KINDS + 1, series.MOST_SERIES), 600)
    assert (len(live), sum(live.values())) == (series.MOST_SERIES, 600)
    assert submitted['nodelink_tasks_submitted_total{pool="other",type="other"}'] >= 100


async def says(door: Door, task_id: str, field: str, value: str = "") -> bool:
    """Whether a task is shown with this value, or with any."""
    found = (await door.get(task_id))[field]
    return found == value if value else bool(found)


async def read_samples(door: Door) -> dict[str, float]:
    """Every sample under /metrics by its name and labels."""
    text = (await door.http.get("/metrics")).text
    return {
        sample.name + labels(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(pairs: dict[str, str]) -> str:
    """Labels as they are written."""
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(pairs.items()))
    return f"{{{inside}}}" if inside else ""


async def test_whoever_asks_while_the_text_is_being_made_gets_the_same() -> None:
    async with app_door() as door:
        answers = await asyncio.gather(*(door.http.get("/metrics") for _ in range(20)))
        assert len({answer.content for answer in answers}) == 1
        await door.submit()
        assert (await door.http.get("/metrics")).content != answers[0].content
