"""The protocol files keep buf's STANDARD rules, explain every name, and are what the generated code was made of."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[2] / "protos"
PACKAGE = "nodelink.v1"
BUF_RULES = '{"version":"v2","lint":{"use":["STANDARD","COMMENTS"],"except":["COMMENT_ENUM_VALUE"]}}'
CAMEL = re.compile(r"([A-Z][a-z0-9]*)+")
LOWER_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")

# Field numbers in descriptor.proto: the steps of a path to the thing that a comment belongs to.
FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES = 4, 5, 6
MESSAGE_FIELDS, MESSAGE_NESTED, MESSAGE_ENUMS = 2, 3, 4
VALUES = METHODS = 2


class Named(NamedTuple):
    """A name in a file, with the comment before it."""

    name: str
    comment: str


class Message(NamedTuple):
    """A message at any depth, under its full name."""

    name: str
    path: tuple[int, ...]
    proto: DescriptorProto


class Enum(NamedTuple):
    """An enum at any depth, under its full name."""

    name: str
    path: tuple[int, ...]
    proto: EnumDescriptorProto


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """All protocol files and what they import, with comments."""
    output = tmp_path_factory.mktemp("protos") / "set.binpb"
    arguments = ["protoc", f"--proto_path={PROTOS}", f"--proto_path={files('grpc_tools') / '_proto'}"]
    arguments += [str(path) for path in sorted(PROTOS.rglob("*.proto"))]
    arguments += ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
    assert protoc.main(arguments) == 0  # type: ignore[no-untyped-call]
    return FileDescriptorSet.FromString(output.read_bytes())


@pytest.fixture(scope="module")
def ours(compiled: FileDescriptorSet) -> list[FileDescriptorProto]:
    return [file for file in compiled.file if not file.name.startswith("google/")]


def test_every_file_is_in_the_package_of_its_folder_and_named_in_lower_snake_case(
    ours: list[FileDescriptorProto],
) -> None:
    assert ours
    for file in ours:
        folder, _, name = file.name.rpartition("/")
        assert file.package == PACKAGE == folder.replace("/", ".")
        assert LOWER_SNAKE.fullmatch(name.removesuffix(".proto")), file.name
        assert file.syntax == "proto3"


def test_only_plain_well_known_types_are_imported(ours: list[FileDescriptorProto]) -> None:
    imports = {name for file in ours for name in file.dependency}
    foreign = {name for name in imports if not name.startswith("nodelink/v1/")}
    assert all(name.startswith("google/protobuf/") for name in foreign), foreign
    assert not any(file.public_dependency for file in ours)


def test_messages_enums_and_services_are_named_in_camel_case(ours: list[FileDescriptorProto]) -> None:
    for file in ours:
        messages = [message.proto.name for message in _messages(file)]
        enums = [enum.proto.name for enum in _enums(file)]
        for name in messages + enums + [service.name for service in file.service]:
            assert CAMEL.fullmatch(name), name


def test_fields_and_oneofs_are_named_in_lower_snake_case(ours: list[FileDescriptorProto]) -> None:
    for file in ours:
        for message in _messages(file):
            names = [field.name for field in message.proto.field]
            oneofs = [oneof.name for oneof in message.proto.oneof_decl if not oneof.name.startswith("_")]
            for name in names + oneofs:
                assert LOWER_SNAKE.fullmatch(name), f"{message.name}.{name}"


def test_an_enum_starts_with_unspecified_and_its_values_carry_its_name(ours: list[FileDescriptorProto]) -> None:
    for file in ours:
        for enum in _enums(file):
            prefix = _upper_snake(enum.proto.name) + "_"
            assert enum.proto.value[0].name == prefix + "UNSPECIFIED"
            assert enum.proto.value[0].number == 0
            for value in enum.proto.value:
                assert UPPER_SNAKE.fullmatch(value.name), value.name
                assert value.name.startswith(prefix), value.name
            assert not enum.proto.options.allow_alias


def test_services_end_in_service_and_each_call_has_messages_of_its_own(ours: list[FileDescriptorProto]) -> None:
    taken: list[str] = []
    for file in ours:
        for service in file.service:
            assert service.name.endswith("Service")
            for method in service.method:
                assert CAMEL.fullmatch(method.name)
                _assert_named_after(method.input_type, service.name, method.name + "Request")
                _assert_named_after(method.output_type, service.name, method.name + "Response")
                taken += [method.input_type, method.output_type]
    assert len(taken) == len(set(taken)), "two calls share a message"


def test_every_public_name_is_explained(ours: list[FileDescriptorProto]) -> None:
    silent = [f"{file.name}: {named.name}" for file in ours for named in _named(file) if not named.comment]
    assert silent == []


def test_the_generated_code_was_made_of_these_files(ours: list[FileDescriptorProto]) -> None:
    for file in ours:
        generated = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
        then = FileDescriptorProto()
        generated.DESCRIPTOR.CopyToProto(then)
        assert _essence(then) == _essence(file), f"{file.name} has changed: run scripts/generate"


@pytest.mark.buf
def test_buf_finds_nothing_to_complain_about() -> None:
    buf = shutil.which("buf")
    assert buf, "buf is not installed: run scripts/test --all"
    done = subprocess.run([buf, "lint", PROTOS, "--config", BUF_RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _messages(file: FileDescriptorProto) -> Iterator[Message]:
    def inside(message: Message) -> Iterator[Message]:
        yield message
        for index, nested in enumerate(message.proto.nested_type):
            if not nested.options.map_entry:
                path = (*message.path, MESSAGE_NESTED, index)
                yield from inside(Message(f"{message.name}.{nested.name}", path, nested))

    for index, proto in enumerate(file.message_type):
        yield from inside(Message(proto.name, (FILE_MESSAGES, index), proto))


def _enums(file: FileDescriptorProto) -> Iterator[Enum]:
    for index, proto in enumerate(file.enum_type):
        yield Enum(proto.name, (FILE_ENUMS, index), proto)
    for message in _messages(file):
        for index, proto in enumerate(message.proto.enum_type):
            yield Enum(f"{message.name}.{proto.name}", (*message.path, MESSAGE_ENUMS, index), proto)


def _named(file: FileDescriptorProto) -> Iterator[Named]:
    """Everything that has a name, except what an enum's zero value says by itself."""
    comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    for message in _messages(file):
        yield Named(message.name, comments.get(message.path, ""))
        for index, field in enumerate(message.proto.field):
            comment = comments.get((*message.path, MESSAGE_FIELDS, index), "")
            yield Named(f"{message.name}.{field.name}", comment)
    for enum in _enums(file):
        yield Named(enum.name, comments.get(enum.path, ""))
        for index, value in enumerate(enum.proto.value[1:], start=1):
            yield Named(value.name, comments.get((*enum.path, VALUES, index), ""))
    for index, service in enumerate(file.service):
        path = (FILE_SERVICES, index)
        yield Named(service.name, comments.get(path, ""))
        for number, method in enumerate(service.method):
            yield Named(f"{service.name}.{method.name}", comments.get((*path, METHODS, number), ""))


def _essence(file: FileDescriptorProto) -> str:
    """The file without its comments and the derived names that generated code leaves out."""
    plain = FileDescriptorProto()
    plain.CopyFrom(file)
    plain.ClearField("source_code_info")
    return re.sub(r'\n *json_name: ".*"', "", str(plain))


def _assert_named_after(type_name: str, service: str, expected: str) -> None:
    """buf lets a message carry the name of the service before that of the call."""
    assert type_name in {f".{PACKAGE}.{expected}", f".{PACKAGE}.{service}{expected}"}


def _upper_snake(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", camel).upper()
