"""Plans of real tasks, from outside: wait for one, approve it, and see how the task ends."""

from __future__ import annotations

from tests.support.processes import asked_until
from tests.support.rest import Json, Rest

PATIENCE = 100.0


async def having(rest: Rest, task_id: str, *statuses: str) -> Json:
    """A task, as soon as it stands so. A task that has ended otherwise is told with what it printed."""

    async def look() -> Json | None:
        task = await rest.get(f"/tasks/{task_id}")
        if task["status"] in {"failed", "completed"} - set(statuses):
            raise AssertionError(f"{task} {(await rest.logs(task_id)).decode()}")
        return task if task["status"] in statuses else None

    return await asked_until(look, f"task {statuses}", PATIENCE, 0.1)


async def planned(rest: Rest, payload: Json, **fields: str) -> tuple[str, Json]:
    """A task whose plan waits for an approval, and the plan."""
    task_id = await rest.submit("plan_and_apply", payload, **fields)
    await having(rest, task_id, "plan_completed")
    return task_id, await rest.get(f"/tasks/{task_id}/plan")


async def approve(rest: Rest, task_id: str, sha256: str, status: int = 200) -> Json:
    """What a person says."""
    return await rest.post(f"/tasks/{task_id}/approve", {"plan_sha256": sha256}, status)
