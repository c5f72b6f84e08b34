"""What a peer says over a WebSocket: which events it wants to hear, and which no more."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from nodelink.errors import FieldError, InvalidTask, Malformed, NodelinkError
from nodelink_server.core.events import EVENT_NAMES, EventFilter
from nodelink_server.core.jsontext import read_json
from nodelink_server.web.errors import field_errors, refusal
from nodelink_server.web.values import MAX_WHOLE

Wish = TypeVar("Wish", bound=BaseModel)


def _known(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - EVENT_NAMES)
    if unknown:
        raise ValueError(f"there is no event {unknown[0][:100]!r}")
    return names


Name = Annotated[StrictStr, Field(min_length=1, max_length=300)]


class Subscribe(BaseModel):
    """What to hear, and under which name. Every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    task_id: Name | None = None
    agent_id: Name | None = None
    pool: Name | None = None
    type: Name | None = None
    names: Annotated[list[StrictStr], Field(min_length=1, max_length=100), AfterValidator(_known)] | None = None
    after: Annotated[StrictInt, Field(ge=0, le=MAX_WHOLE)] | None = None

    @property
    def filter(self) -> EventFilter:
        """Which events match."""
        names = frozenset(self.names or ())
        return EventFilter(task_id=self.task_id, agent_id=self.agent_id, pool=self.pool, type=self.type, names=names)


class Unsubscribe(BaseModel):
    """Which subscription to end."""

    model_config = ConfigDict(extra="forbid")

    id: StrictStr


def read_message(text: str) -> Subscribe | Unsubscribe:
    """What a message asks for. Raises `Malformed`, `InvalidTask`."""
    try:
        message = read_json(text.encode())
    except ValueError as error:
        raise Malformed(f"the message is not JSON that can be accepted: {error}") from error
    match message:
        case {"subscribe": dict(wish), **others} if not others:
            return _shaped(Subscribe, wish)
        case {"unsubscribe": dict(wish), **others} if not others:
            return _shaped(Unsubscribe, wish)
        case {"unsubscribe": str(name), **others} if not others:
            return Unsubscribe(id=name)
        case {"subscribe": _, **others} if not others:
            raise InvalidTask(FieldError("subscribe", "must be an object, such as {}"))
        case {"unsubscribe": _, **others} if not others:
            raise InvalidTask(FieldError("unsubscribe", "must be the id of a subscription"))
    raise InvalidTask(FieldError("message", 'must be {"subscribe": {…}} or {"unsubscribe": id}'))


def _shaped(kind: type[Wish], wish: dict[str, Any]) -> Wish:
    try:
        return kind.model_validate(wish)
    except ValidationError as error:
        raise refusal(cast("Any", error.errors())) from error


def error_json(error: NodelinkError) -> dict[str, Any]:
    """What is wrong with a message, or ends a subscription."""
    fields = error.errors if isinstance(error, InvalidTask) else ()
    shown = {"code": str(error.code), "detail": error.message, "errors": field_errors(fields)}
    return shown if error.retry_after is None else {**shown, "retry_after": error.retry_after}
