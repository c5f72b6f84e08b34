"""Alerts and dashboard: they speak of metrics that exist, parse, fire when they should, and lead to a runbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodelink_server.metrics import Exposition
from tests.support.core_parts import running_core

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "observability"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
NAMES = r"\b(?:nodelink|process|python)_[a-z_]+"
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


def panels() -> Iterator[dict[str, Any]]:
    """What the dashboard shows, its headings apart."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def dashboard_queries() -> list[str]:
    """Its queries, with values in the places of variables."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [re.sub(r"\$(instance|pool)", ".*", query).replace("$__rate_interval", "5m") for query in queries]


async def published() -> set[str]:
    """The names of the series that a server tells."""
    async with running_core() as core:
        text = await Exposition(core.manager, version="1", insecure=False).render()
        kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text.body.decode(), re.MULTILINE)
    return {name.removesuffix("_total") + suffix for name, kind in kinds for suffix in SUFFIXES[kind]}


async def test_every_metric_that_is_named_exists() -> None:
    named = {name for rule in RULES for name in re.findall(NAMES, rule["expr"])}
    named |= {name for query in dashboard_queries() for name in re.findall(NAMES, query)}
    named |= {
        name
        for variable in DASHBOARD["templating"]["list"]
        for name in re.findall(NAMES, variable["query"]["query"] if isinstance(variable["query"], dict) else "")
    }
    assert len(named) > 30
    assert named <= await published()


async def test_the_dashboard_shows_every_metric_of_ours() -> None:
    ours = {name for name in await published() if name.startswith("nodelink_")}
    shown = {name for query in dashboard_queries() for name in re.findall(NAMES, query)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    assert families == {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if name.startswith("nodelink_")}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_grave_it_is_and_where_help_is(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("NodeLink")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_fires_in_a_situation_of_the_tests() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    samples = [s["labels"] for test in tests for query in test["promql_expr_test"] for s in query["exp_samples"]]
    fired = {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}
    assert fired == {rule["alert"] for rule in RULES}


def test_panels_have_ids_of_their_own_and_lie_beside_one_another() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert (DASHBOARD["id"], DASHBOARD["uid"], DASHBOARD["schemaVersion"] >= 36) == (None, "nodelink", True)
    assert variables == {"datasource", "instance", "pool"}
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def promtool(*arguments: str, cwd: Path = FOLDER) -> str:
    """What promtool says. It must be content."""
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_rules_and_configuration_are_valid() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "config", "prometheus.yml")


@pytest.mark.prometheus
def test_alerts_fire_and_stay_silent_as_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@pytest.mark.prometheus
def test_every_query_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "queries.yml", cwd=tmp_path)
