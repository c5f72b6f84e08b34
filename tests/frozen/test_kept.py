"""Whatever a frozen protocol knows, today's protocol knows under the same name, number and type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from nodelink.v1 import admin_pb2, agent_pb2, data_pb2, task_pb2
from tests.support.frozen import PACKAGE, Protocol, frozen_numbers

TODAY = (admin_pb2, agent_pb2, data_pb2, task_pb2)
OPTIONAL = FieldDescriptorProto.LABEL_OPTIONAL


class Kept(NamedTuple):
    """Something that peers of a protocol rely on: what it is called, and what must not change about it."""

    name: str
    nature: tuple[object, ...]


def relied_on(file: FileDescriptorProto) -> Iterator[Kept]:
    """Every call, field and value of a file."""
    for service in file.service:
        for call in service.method:
            streams = (call.client_streaming, call.server_streaming)
            yield Kept(f"{service.name}.{call.name}", ("call", call.input_type, call.output_type, *streams))
    for enum in file.enum_type:
        for value in enum.value:
            yield Kept(f"{enum.name}.{value.name}", ("value", value.number))
    for message in file.message_type:
        yield from _of_message(message, message.name)


def _of_message(message: DescriptorProto, name: str) -> Iterator[Kept]:
    yield Kept(name, ("message", message.options.map_entry))
    for field in message.field:
        yield Kept(f"{name}.{field.name}", _nature(message, field))
    for enum in message.enum_type:
        for value in enum.value:
            yield Kept(f"{name}.{enum.name}.{value.name}", ("value", value.number))
    for nested in message.nested_type:
        yield from _of_message(nested, f"{name}.{nested.name}")


def _nature(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[object, ...]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return ("field", field.number, field.type, field.type_name, field.label, oneof)


def changed(then: list[FileDescriptorProto], now: list[FileDescriptorProto]) -> list[str]:
    """What was relied on then and is not the same now."""
    natures = {kept.name: kept.nature for file in now for kept in relied_on(file)}
    return [
        f"{kept.name}: {kept.nature} has become {natures.get(kept.name, 'nothing')}"
        for file in then
        for kept in relied_on(file)
        if natures.get(kept.name) != kept.nature
    ]


def ours(protocol: Protocol) -> list[FileDescriptorProto]:
    """The files of our own of a frozen protocol."""
    return [file for file in protocol.files.file if file.package == PACKAGE]


def today() -> list[FileDescriptorProto]:
    """The files of today."""
    files = []
    for module in TODAY:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return files


@pytest.mark.parametrize("number", frozen_numbers())
def test_everything_of_an_earlier_protocol_is_kept(number: int) -> None:
    then = ours(Protocol(number))
    assert sum(len(list(relied_on(file))) for file in then) > 300
    assert changed(then, today()) == []


def test_what_is_removed_renumbered_or_retyped_is_found() -> None:
    then, now = ours(Protocol(1)), ours(Protocol(1))
    (agent,) = [file for file in now if file.name.endswith("agent.proto")]
    messages = {message.name: message for message in agent.message_type}
    del messages["Hello"].field[0]
    messages["AttemptRef"].field[2].number = 9
    messages["Heartbeat"].field[0].type = FieldDescriptorProto.TYPE_FIXED64
    messages["Finished"].field[0].label = FieldDescriptorProto.LABEL_REPEATED
    del agent.enum_type[0].value[-1]
    del agent.service[0].method[0]
    found = [complaint.partition(":")[0] for complaint in changed(then, now)]

    assert len(found) == 6
    assert {"Hello.protocol_min", "AttemptRef.fence", "Heartbeat.number", "AgentService.Connect"} <= set(found)


def test_what_is_new_is_no_complaint() -> None:
    then, now = ours(Protocol(1)), ours(Protocol(1))
    now[0].message_type[0].field.add(name="new", number=2_000, type=FieldDescriptorProto.TYPE_BOOL, label=OPTIONAL)
    now[0].message_type.add(name="New")
    assert changed(then, now) == []
