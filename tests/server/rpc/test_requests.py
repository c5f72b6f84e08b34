"""Single parts of requests: what is no number of ours is refused by name, before a database has to hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from nodelink.errors import InvalidTask
from nodelink_server.rpc.requests import (
    LARGEST_OFFSET,
    LARGEST_REVISION,
    duration_ms,
    moment_ms,
    offset_of,
    page_size_of,
    place_of,
    resolution_of,
    revision_of,
    stream_of,
    token_of,
)


@pytest.mark.parametrize("place", [1, 17, LARGEST_REVISION])
def test_a_token_leads_back_to_its_place(place: int) -> None:
    assert place_of(token_of(place)) == place


@pytest.mark.parametrize("token", ["8" + "0" * 15, "f" * 16, "0" * 17, "-1", "0x1", "1_0", " 1", "½", "A"])
def test_a_token_that_no_page_has_given_is_refused_by_the_name_of_its_field(token: str) -> None:
    with pytest.raises(InvalidTask, match="page_token"):
        place_of(token)


@pytest.mark.parametrize(
    "read, value",
    [
        (offset_of, LARGEST_OFFSET + 1),
        (moment_ms, Timestamp(seconds=(1 << 63) - 1)),
        (moment_ms, Timestamp(seconds=-(1 << 63))),
        (duration_ms, Duration(seconds=(1 << 63) - 1)),
        (duration_ms, Duration(seconds=-1)),
    ],
)
def test_a_number_beyond_all_sense_is_refused_by_the_name_of_its_field(
    read: Callable[[Any, str], int], value: Any
) -> None:
    with pytest.raises(InvalidTask) as refused:
        read(value, "field")
    assert refused.value.errors[0].field == "field"


@pytest.mark.parametrize(
    "read, value, field",
    [
        (page_size_of, 1_001, "page_size"),
        (revision_of, LARGEST_REVISION + 1, "after_revision"),
        (stream_of, 3, "stream"),
        (resolution_of, 0, "resolution"),
        (resolution_of, 4, "resolution"),
    ],
)
def test_a_number_that_is_not_allowed_names_its_field(read: Callable[[int], Any], value: int, field: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        read(value)
    assert refused.value.errors[0].field == field
