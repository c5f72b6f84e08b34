"""A handler of one's own says when another try is worth it, and is told again then, and no earlier."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.processes import ROOT, services_in
from tests.support.rest import Rest

pytestmark = pytest.mark.slow

PACKAGES = ("nodelink", "nodelink_server", "nodelink_agent")
HANDLER = '''
from nodelink.task import Execution, Finished, Outcome
from nodelink_agent.handlers.registry import Context, HandlerEntry
from nodelink_agent.handlers.retry_later import RetryLater


async def fetch(payload: bytes, context: Context) -> Finished:
    """Fail the first time, and ask for another try."""
    context.started()
    context.extend(timeout=60)
    if context.ref.attempt == 1:
        raise RetryLater(2, "the registry is busy")
    return Finished(outcome=Outcome.COMPLETED, output=b"true")


FETCH = HandlerEntry(type="fetch", execution=Execution.REPLAYABLE, run=fetch)
'''


def bring(handler: str, tree: Path) -> None:
    """Make a copy of our packages whose agents run this handler as well."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "nodelink_agent/handlers/fetch.py").write_text(handler)
    app = tree / "nodelink_agent/app.py"
    text = app.read_text()
    assert text.count(" ECHO,\n") == 1
    text = text.replace(" ECHO,\n", " ECHO,\n FETCH,\n")
    app.write_text(
        text.replace("\nimport asyncio\n", "\nimport asyncio\nfrom nodelink_agent.handlers.fetch import FETCH\n")
    )


async def test_a_handler_that_is_busy_is_tried_again_when_it_said(tmp_path: Path) -> None:
    bring(HANDLER, tmp_path)
    async with services_in(tmp_path) as services:  # they run what is in their own directory
        server = await services.server()
        await services.agent(server)
        async with Rest(server) as rest:
            await rest.online()
            task_id = await rest.submit("fetch", None, retry={"max_attempts": 2, "initial": "0s"})
            retrying = await rest.heard(task_id, "task.retrying")
            result = await rest.result(task_id)
            task = await rest.get(f"/tasks/{task_id}")

    first, _ = task["attempts"]
    assert (result["status"], result["attempt"]) == ("completed", 2)
    assert (first["reason"], first["message"]) == ("handler_error", "RetryLater: the registry is busy")
    assert retrying.data["retry_in_ms"] == 2_000
    assert [(remark["kind"], remark["by"]) for remark in task["remarks"]] == [("extended", "the work itself")] * 2
