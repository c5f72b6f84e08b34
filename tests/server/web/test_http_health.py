"""Health, metrics and the description of the interface."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from nodelink.errors import StoreUnavailable
from nodelink.task import Outcome
from nodelink_server import metrics
from nodelink_server.core.tally import Buckets
from nodelink_server.web.unbuilt import UNBUILT_PATHS
from tests.support.http_door import VERSION, Door, app_door

HISTOGRAMS = {
    "nodelink_task_queue_seconds",
    "nodelink_task_run_seconds",
    "nodelink_task_total_seconds",
    "nodelink_store_commit_seconds",
    "nodelink_store_commit_rows",
    "nodelink_cleanup_seconds",
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
}
GAUGES = {
    "nodelink_build_info",
    "nodelink_insecure",
    "nodelink_tasks_live",
    "nodelink_agents_connected",
    "nodelink_agent_slots",
    "nodelink_response_channel_depth",
    "nodelink_response_channel_capacity",
    "nodelink_store_queue_depth",
    "nodelink_events_listeners",
    "nodelink_registry_tasks",
}


async def test_a_server_that_answers_is_alive() -> None:
    async with app_door() as door:
        answer = await door.http.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": VERSION, "insecure": False})


async def test_a_server_that_can_do_its_work_is_ready() -> None:
    async with app_door() as door:
        answer = await door.http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() | {"status": "ready", "database": True, "draining": False} == answer.json()


async def test_a_server_whose_database_is_away_is_alive_but_not_ready() -> None:
    away = False

    def fault(kind: str) -> None:
        if away and kind == "apply":
            raise StoreUnavailable("the disk is full")

    async with app_door(fault=fault) as door:
        away = True
        assert (await door.http.post("/api/v1/tasks", json={"type": "echo"})).status_code == 503
        answer = await door.http.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
        assert answer.json()["detail"] == "the database cannot be written to: the disk is full"
        assert answer.headers["retry-after"]
        assert (await door.http.get("/healthz")).status_code == 200


async def test_a_server_that_stops_is_not_ready() -> None:
    async with app_door() as door:
        await door.manager.drain()
        answer = await door.http.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the server is stopping")


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
    bounded = metrics._bounded(values, metrics._sum)
    assert len(bounded) == metrics.MOST_SERIES
    assert sum(bounded.values()) == sum(values.values())
    assert metrics.OTHER in {name for (name,) in bounded}


def test_series_that_are_too_many_are_counted_together() -> None:
    one, two = Buckets((1, 2)), Buckets((1, 2))
    one.observe(0.5)
    two.observe(5)
    merged = metrics._merged([one, two])
    assert (merged.counts, merged.sum) == ([1, 0, 1], 5.5)


async def test_the_description_names_what_is_built_and_nothing_else() -> None:
    async with app_door() as door:
        description = (await door.http.get("/openapi.json")).json()
        assert description["openapi"].startswith("3.1")
        assert set(description["paths"]) == {
            "/api/v1/tasks",
            "/api/v1/tasks/shell",
            "/api/v1/tasks/batch",
            "/api/v1/tasks/{task_id}",
            "/api/v1/tasks/{task_id}/result",
            "/api/v1/tasks/{task_id}/logs",
            "/api/v1/tasks/{task_id}/events",
            "/api/v1/tasks/{task_id}/cancel",
            "/api/v1/events",
            "/api/v1/agents",
            "/api/v1/agents/{agent_id}",
            "/healthz",
            "/readyz",
            "/metrics",
        }
        assert not {f"/api/v1{path}" for path in UNBUILT_PATHS} & set(description["paths"])
        assert "HTTPValidationError" not in description["components"]["schemas"]


async def test_the_description_has_the_fields_of_a_task() -> None:
    async with app_door() as door:
        schemas = (await door.http.get("/openapi.json")).json()["components"]["schemas"]
        shown = await door.submit()
        assert set(schemas["TaskJson"]["properties"]) == set(shown)
        assert schemas["NewTask"]["additionalProperties"] is False
        assert schemas["NewTask"]["required"] == ["type"]


async def test_every_reference_in_the_description_leads_somewhere() -> None:
    async with app_door() as door:
        answer = await door.http.get("/openapi.json")
        names = set(answer.json()["components"]["schemas"])
        references = re.findall(r'"\$ref":"([^"]+)"', answer.text)
        assert references
        assert {reference.removeprefix("#/components/schemas/") for reference in references} <= names


async def test_the_page_of_routes_fetches_nothing_from_anywhere_else() -> None:
    async with app_door() as door:
        page = (await door.http.get("/docs")).text
        assert "/api/v1/tasks/{task_id}/result" in page
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
        assert "<script" not in page


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
