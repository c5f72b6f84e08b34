"""docs/grpc.md leaves out no call, no code, and none of the limits that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from nodelink.v1 import admin_pb2, task_pb2
from nodelink_server.core.validation import MAX_BATCH
from nodelink_server.rpc.messages import MAX_MESSAGE_BYTES, READABLE_BYTES
from nodelink_server.rpc.statuses import STATUS_CODES
from nodelink_server.rpc.submit_stream import WINDOW

PAGE = (Path(__file__).parents[3] / "docs" / "grpc.md").read_text()
SERVICES = [service for file in (task_pb2, admin_pb2) for service in file.DESCRIPTOR.services_by_name.values()]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_call_has_its_line(service: ServiceDescriptor) -> None:
    missing = [name for name in service.methods_by_name if f"| `{name}` |" not in PAGE]
    assert missing == []


def test_the_table_of_errors_is_the_one_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    assert dict(rows) == {code.value: status.name for code, status in STATUS_CODES.items()}
    assert len(rows) == len(STATUS_CODES)


def test_the_limits_are_those_of_the_code() -> None:
    for number in (
        f"{MAX_MESSAGE_BYTES >> 20} MiB",
        f"{READABLE_BYTES >> 20} MiB",
        f"{MAX_BATCH:,}",
        f"{WINDOW:,}",
    ):
        assert number in PAGE
