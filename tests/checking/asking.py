"""What callers and people were answered, against what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.checking.history import History, Known, Request
from tests.checking.rule import Rule, needs

_REMARK_OF = {"abandon": "abandoned", "resolve": "resolved", "rerun": "rerun"}


def accepted_is_never_lost(history: History) -> Iterator[str]:
    """What was accepted exists, as what was asked for."""
    kept = {task.id: task for task in history.kept}
    for request in history.requests:
        for task_id in request.accepted:
            if task_id not in kept:
                yield f"{request.token} was accepted as {task_id}, which does not exist"
            elif (kept[task_id].token, kept[task_id].execution) != (request.token, request.execution):
                yield f"{request.token} was accepted as {task_id}, which is {kept[task_id]}"


def nothing_comes_from_nowhere(history: History) -> Iterator[str]:
    """There are no more tasks than were asked for, and a request is one task however often it was repeated."""
    count = Counter(task.token for task in history.kept)
    requests = {request.token: request for request in history.requests}
    for token in count.keys() - requests.keys():
        yield f"nobody asked for {token}"
    for token, request in requests.items():
        if count[token] > _most_tasks(request):
            yield f"{token} became {count[token]} tasks; {_most_tasks(request)} were asked for"


def _most_tasks(request: Request) -> int:
    tries = len(request.accepted) + request.unknown
    return min(tries, 1) if request.key is not None else tries


def a_key_names_one_task(history: History) -> Iterator[str]:
    """Every answer to a repeated request names the same task, and no key stands for two."""
    for request in history.requests:
        if request.key is not None and len(set(request.accepted)) > 1:
            yield f"{request.token} was answered with {sorted(set(request.accepted))}"
    for key, count in Counter(task.key for task in history.kept if task.key is not None).items():
        if count > 1:
            yield f"{key} stands for {count} tasks"


def what_people_decide_is_written_down(history: History) -> Iterator[str]:
    """Every decision that was confirmed is in the task's remarks, and none is there that nobody asked for."""
    asked: Counter[tuple[str, str]] = Counter()
    sure: Counter[tuple[str, str]] = Counter()
    for deed in history.deeds:
        name = (deed.task_id, _REMARK_OF[deed.verb])
        asked[name] += deed.done is not False
        sure[name] += deed.done is True
    written = Counter(
        (task.id, str(remark.kind))
        for task in history.kept
        for remark in task.remarks
        if str(remark.kind) in _REMARK_OF.values()
    )
    for name in asked.keys() | written.keys():
        if not min(sure[name], 1) <= written[name] <= asked[name]:
            yield f"{name[0]}: {name[1]} is written down {written[name]} times; asked {asked[name]}, done {sure[name]}"


RULES: tuple[Rule, ...] = (
    needs(accepted_is_never_lost, Known.REQUESTS, Known.ROWS),
    needs(nothing_comes_from_nowhere, Known.REQUESTS, Known.ROWS),
    needs(a_key_names_one_task, Known.REQUESTS, Known.ROWS),
    needs(what_people_decide_is_written_down, Known.DEEDS, Known.ROWS),
)
