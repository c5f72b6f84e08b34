"""A task as people read it: what is in doubt about it is told in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nodelink.cli.output import text_of_one
from nodelink.cli.table import Form
from nodelink.cli.times import ago, now_ms
from nodelink.quantities import format_quantity
from nodelink.task import TERMINAL, OnConflict, TaskStatus, WhenTaken

TIMES = ("last_contact", "lease_until")
_BY_NAME = ("resources", "limits", "rate")
_UNASSIGNED = {
    "no_pool": "no agent of its pool is known",
    "no_agent_online": "no agent that fits is online",
    "none_free": "no agent that fits is free",
    "send_failed": "it could not be sent to an agent",
}


def text_of_task(form: Form, output: str) -> str:
    """A task in the form that was asked for."""
    return text_of_one(card_of(form, now_ms()) if output == "table" else form, output, times=TIMES)


def card_of(form: Form, now: int) -> Form:
    """The same with a line for each attempt, late result and remark, and one that says what nobody knows."""
    card: Form = {}
    for name, value in form.items():
        if name == "may_have_run":
            card["doubt"] = tuple(_doubts(form, now))
        card[name] = value
    card["attempts"] = tuple(_attempt(attempt, now) for attempt in form["attempts"])
    card["retry"] = _policy(form["retry"]) if form["retry"] else None
    card["failures"] = form["failures"] or None
    card["assignment"] = _assignment(form["assignment"], now) if form["assignment"] else None
    card["in_force"] = tuple(f"{one['name']}: {one['taken']} of {one['most']} taken" for one in form["in_force"])
    card.update(_placing(form))
    card["late_results"] = tuple(_late(late, now) for late in form["late_results"])
    card["remarks"] = tuple(_remark(remark, now) for remark in form["remarks"])
    return card


def _placing(form: Form) -> Form:
    """Where it runs, beside whom, and in whose turn; what goes without saying is left out."""
    amounts = {name: format_quantity(round(amount * 1000)) for name, amount in form["resources"].items()}
    usual = {"slots": 1, "when_taken": WhenTaken.WAIT, "on_conflict": OnConflict.FAIL, "fairness_weight": 1}
    return {
        **{name: None for name, value in usual.items() if form[name] == value},
        **{name: _named(by_name) for name, by_name in {**form, "resources": amounts}.items() if name in _BY_NAME},
    }


def _named(by_name: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in by_name.items())


def _doubts(form: Form, now: int) -> Iterator[str]:
    if form["status"] == TaskStatus.UNKNOWN:
        since, why = _unknown_since(form)
        yield f"how it goes on is not known since {since} ({ago(since, now)})" + (f": {why}" if why else "")
        yield "its lock is kept until its agent tells, or a person says what became of it (`nodelink tasks resolve`)"
    elif form["contact"] == "lost":
        yield "its agent is not heard of; when the lease is over, the rule of its class applies"
    elif form["status"] in TERMINAL and form["may_have_run"]:
        yield "it may have run: nobody saw how it ended"
    elif form["may_have_run"] and form["contact"] is None:
        yield "an earlier attempt may have run: nobody saw how it ended"


def _unknown_since(form: Form) -> tuple[str, str]:
    """Since when it is unknown, and why."""
    for remark in reversed(form["remarks"]):
        if remark["kind"] == "unknown":
            return remark["at"], remark["message"]
    return form["updated_at"], form["message"]


def _attempt(attempt: Form, now: int) -> str:
    """An attempt in a line: how it stands or ended, why, and when it last changed."""
    code = "" if attempt["exit_code"] is None else f", exit code {attempt['exit_code']}"
    since = attempt["finished_at"] or attempt["started_at"] or attempt["sent_at"]
    words = attempt["message"] or attempt["reason"]
    line = f"{attempt['number']} on {attempt['agent_id']}: {attempt['state']}{code}, {since} ({ago(since, now)})"
    return f"{line}: {words}" if words else line


def _policy(retry: Form) -> str:
    """When it is tried again, in words."""
    on = f", on {', '.join(retry['on'])}" if retry["on"] else ""
    wait = f"waits of up to {retry['initial']}, {retry['multiplier']:g} times longer each, at most {retry['max']}"
    return f"{retry['max_attempts']} attempts, {wait}{on}"


def _assignment(tries: Form, now: int) -> str:
    """How the tries to give it to an agent stand. A reason that only a newer server knows is told as it is."""
    why = _UNASSIGNED.get(tries["reason"], tries["reason"])
    return f"try {tries['tries']}, {why}, next look at {tries['next_at']} ({ago(tries['next_at'], now)})"


def _late(late: Form, now: int) -> str:
    code = "" if late["exit_code"] is None else f", exit code {late['exit_code']}"
    words = f": {late['message']}" if late["message"] else ""
    told = f"{late['received_at']} ({ago(late['received_at'], now)})"
    return f"attempt {late['attempt']} on {late['agent_id']}: {late['outcome']}{code}, told {told}{words}"


def _remark(remark: Form, now: int) -> str:
    by = f" by {remark['by']}" if remark["by"] else ""
    words = f": {remark['message']}" if remark["message"] else ""
    return f"{remark['kind']}{by} {remark['at']} ({ago(remark['at'], now)}){words}"
