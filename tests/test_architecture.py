"""The arrows between the rooms of the house: who may import whom, and what the two cores never touch.

Each rule is a function from a source tree to the list of its violations. It is run over the real tree, which must have
none, and over a tiny tree with one planted violation, which it must find.
"""

from __future__ import annotations

import graphlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.source_tree import Module, Reference, foreign_imports, own_imports, read_tree

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("nodelink", "nodelink_server", "nodelink_agent")
Tree = Mapping[str, Module]
Rule = Callable[[Tree], list[str]]

# A module belongs to the room with the longest name that begins its own. It may import its own room and those listed.
# "nodelink" alone stands for the small shared modules: settings, addresses, ids.
PURE = frozenset(
    {
        *("nodelink.task", "nodelink.errors", "nodelink.backoff", "nodelink.values"),
        *("nodelink.durations", "nodelink.quantities", "nodelink.selectors", "nodelink.taken"),
        *("nodelink.checkpoint", "nodelink.plan"),
    }
)
SHARED = PURE | {"nodelink"}
WIRE = SHARED | {"nodelink.wire", "nodelink.v1"}
SERVER_EDGE = SHARED | {"nodelink_server", "nodelink_server.core"}
SERVER_EDGES = frozenset({"nodelink_server.rpc", "nodelink_server.web", "nodelink_server.store"})
AGENT_PART = SHARED | {"nodelink_agent", "nodelink_agent.core"}
AGENT_POOL = AGENT_PART | {"nodelink_agent.handlers"}
AGENT_JOURNAL = AGENT_PART | WIRE  # its records hold what travels
AGENT_LINK = AGENT_POOL | WIRE | {"nodelink_agent.pool"}
MAY_IMPORT: Mapping[str, frozenset[str]] = {
    "nodelink.task": frozenset({"nodelink.values", "nodelink.plan"}),
    "nodelink.plan": frozenset(),
    "nodelink.errors": frozenset(),
    "nodelink.backoff": frozenset(),
    "nodelink.checkpoint": frozenset({"nodelink.errors"}),
    "nodelink.durations": frozenset(),
    "nodelink.quantities": frozenset(),
    "nodelink.selectors": frozenset(),
    "nodelink.taken": frozenset({"nodelink.task", "nodelink.plan"}),
    "nodelink.values": frozenset(),
    "nodelink": PURE,
    "nodelink.v1": frozenset(),
    "nodelink.wire": WIRE,
    "nodelink.client": WIRE,
    "nodelink.cli": WIRE | {"nodelink.client"},
    "nodelink_server.core": PURE,
    "nodelink_server": SHARED | {"nodelink_server.core"},  # settings, logs, metrics
    "nodelink_server.store": SERVER_EDGE,
    "nodelink_server.web": SERVER_EDGE,
    "nodelink_server.rpc": SERVER_EDGE | WIRE,
    "nodelink_server.app": SERVER_EDGE | SERVER_EDGES,
    "nodelink_server.__main__": SHARED | {"nodelink_server", "nodelink_server.app"},
    "nodelink_agent.core": PURE,
    "nodelink_agent": AGENT_PART,  # spawner, spool, commands, identity, settings, logs
    "nodelink_agent.handlers": AGENT_PART,
    "nodelink_agent.journal": AGENT_JOURNAL,
    "nodelink_agent.pool": AGENT_POOL | {"nodelink_agent.journal"},
    "nodelink_agent.link": AGENT_LINK,
    "nodelink_agent.carrier": AGENT_PART | WIRE,
    "nodelink_agent.supervisor": AGENT_LINK | {"nodelink_agent.link"},
    "nodelink_agent.app": AGENT_LINK
    | {"nodelink_agent.carrier", "nodelink_agent.journal", "nodelink_agent.link", "nodelink_agent.supervisor"},
    "nodelink_agent.start": AGENT_PART | {"nodelink_agent.app"},
    "nodelink_agent.__main__": AGENT_PART | {"nodelink_agent.start"},
}

CORES = ("nodelink_server.core", "nodelink_agent.core")
CORE_LIBRARIES = {"structlog", "readerwriterlock"}
# Time, chance, ids, the environment and the outside world come into a core as arguments.
FORBIDDEN_IN_CORE = (
    *("asyncio.sleep", "asyncio.wait_for", "asyncio.timeout", "asyncio.timeout_at", "asyncio.to_thread", "asyncio.run"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3"),
    *("ssl", "subprocess", "tempfile", "time", "uuid"),
)
SPAWNER = "nodelink_agent.spawner"
HOMES: Mapping[str, str] = {
    "sqlalchemy": "nodelink_server.store",
    "alembic": "nodelink_server.store",
    "fastapi": "nodelink_server.web",
    "starlette": "nodelink_server.web",
}
TRACING = {"nodelink.tracing", "nodelink_server.tracing", "nodelink_agent.tracing"}
"""What needs an extra that few install: loaded by name, where an endpoint is configured."""
MAY_IMPORT_LATE = {
    "nodelink_agent.__main__": "a stop is heard while the rest is loaded",
    "nodelink_agent.start": "the spawner is started before grpc is loaded",
    "nodelink_server.__main__": "grpc reads its environment when it is loaded",
    "nodelink_server.store.upgrade": "Alembic takes long to load, and only an earlier schema needs it",
}


def keep_to_their_rooms(tree: Tree) -> list[str]:
    """Every import of our own follows an arrow of MAY_IMPORT."""
    return [
        _violation(module, target, f"{_room(module.name)} may not import {_room(target.name)}")
        for module in tree.values()
        for target in own_imports(module, tree)
        if _room(target.name) not in MAY_IMPORT[_room(module.name)] | {_room(module.name)}
    ]


def make_no_circle(tree: Tree) -> list[str]:
    """Imports never lead back to where they began."""
    graph = {name: {target.name for target in own_imports(module, tree)} - {name} for name, module in tree.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["a circle: " + " -> ".join(reversed(error.args[1]))]
    return []


def import_at_the_top(tree: Tree) -> list[str]:
    """No import hides inside a function, except in the modules listed with a reason."""
    return [
        _violation(module, late, "is imported inside a function")
        for module in tree.values()
        if module.name not in MAY_IMPORT_LATE
        for late in module.late_imports
    ]


def keep_the_core_pure(tree: Tree) -> list[str]:
    """The cores use no clock, no chance, no environment and no I/O of their own."""
    return [
        _violation(module, use, "is not for a core: take it as an argument")
        for module in _inside(tree, *CORES)
        for use in module.uses
        if any(_begins(use.name, forbidden) for forbidden in FORBIDDEN_IN_CORE)
    ]


def keep_libraries_out_of_the_core(tree: Tree) -> list[str]:
    """The cores know the standard library and two small libraries more."""
    allowed = CORE_LIBRARIES | sys.stdlib_module_names
    return [
        _violation(module, library, "is a library that a core may not know")
        for module in _inside(tree, *CORES)
        for library in foreign_imports(module, tree)
        if library.name not in allowed
    ]


def start_from_the_standard_library(tree: Tree) -> list[str]:
    """The spawner runs beside the agent and must start fast and stay small: all it loads is standard library."""
    return [
        _violation(module, library, f"is loaded by {SPAWNER}, which is for the standard library alone")
        for module in _loaded_by(SPAWNER, tree)
        for library in foreign_imports(module, tree)
        if library.name not in sys.stdlib_module_names
    ]


def keep_libraries_at_home(tree: Tree) -> list[str]:
    """Databases are the store's business and HTTP the web's."""
    return [
        _violation(module, library, f"is only for {HOMES[library.name]}")
        for module in tree.values()
        for library in foreign_imports(module, tree)
        if library.name in HOMES and not _begins(module.name, HOMES[library.name])
    ]


def import_what_is_declared(tree: Tree) -> list[str]:
    """Each package imports only what pyproject.toml installs with it: an agent never needs the server's libraries."""
    base, server, tracing = (_declared(extra) for extra in ("", "server", "tracing"))
    provided = packages_distributions()

    def declared(module: Module) -> set[str]:
        of_the_server = server if _begins(module.name, "nodelink_server") else set()
        return base | of_the_server | (tracing if module.name in TRACING else set())

    return [
        _violation(module, library, "is not among the dependencies of this package")
        for module in tree.values()
        for library in foreign_imports(module, tree)
        if library.name not in sys.stdlib_module_names
        and not {_normal(name) for name in provided.get(library.name, ())} & declared(module)
    ]


def load_tracing_by_name(tree: Tree) -> list[str]:
    """Nobody imports what traces but what traces itself: without an endpoint nothing of it is loaded."""
    return [
        _violation(module, target, "is loaded by name, and only where an endpoint is configured")
        for module in tree.values()
        for target in own_imports(module, tree)
        if target.name in TRACING and module.name not in TRACING
    ]


RULES: tuple[Rule, ...] = (
    keep_to_their_rooms,
    make_no_circle,
    import_at_the_top,
    keep_the_core_pure,
    keep_libraries_out_of_the_core,
    start_from_the_standard_library,
    keep_libraries_at_home,
    import_what_is_declared,
    load_tracing_by_name,
)


@pytest.fixture(scope="module")
def house() -> Tree:
    return read_tree(ROOT, *PACKAGES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_all_modules(rule: Rule, house: Tree) -> None:
    violations = rule(house)
    assert not violations, "\n".join(violations)


def test_every_room_has_an_arrow_only_to_rooms_that_exist() -> None:
    assert frozenset().union(*MAY_IMPORT.values()) <= MAY_IMPORT.keys()


PLANTED: tuple[tuple[Rule, str, str, str], ...] = (
    (keep_to_their_rooms, "nodelink_server/web/tasks.py", "from nodelink_server.store import sql", "may not import"),
    (keep_to_their_rooms, "nodelink_server/core/task.py", "import nodelink.wire", "may not import nodelink.wire"),
    (keep_to_their_rooms, "nodelink_server/core/task.py", "from ..store import sql", "nodelink_server.store"),
    (keep_to_their_rooms, "nodelink_server/core/task.py", "import nodelink.settings", "may not import nodelink"),
    (keep_to_their_rooms, "nodelink_server/store/sql.py", "from nodelink.v1 import task_pb2", "nodelink.v1"),
    (keep_to_their_rooms, "nodelink_server/app.py", "import nodelink_agent.link", "nodelink_agent.link"),
    (keep_to_their_rooms, "nodelink_agent/link.py", "from nodelink_server.core import task", "nodelink_server.core"),
    (keep_to_their_rooms, "nodelink/wire.py", "import nodelink_server.core.task", "nodelink_server.core"),
    (keep_to_their_rooms, "nodelink/client/sync.py", "import nodelink.cli.main", "may not import nodelink.cli"),
    (
        keep_to_their_rooms,
        "nodelink_server/web/tasks.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nodelink_server.rpc import agents",
        "may not import nodelink_server.rpc",
    ),
    (make_no_circle, "nodelink/task.py", "import nodelink.wire", "a circle: "),
    (import_at_the_top, "nodelink/wire.py", "def late():\n    import nodelink.task", "wire:2"),
    (import_at_the_top, "nodelink/wire.py", "async def late():\n    from nodelink import task", "wire:2"),
    (keep_the_core_pure, "nodelink_server/core/task.py", "import asyncio as io\nawait_ = io.sleep", "asyncio.sleep"),
    (keep_the_core_pure, "nodelink_server/core/task.py", "from asyncio import wait_for", "asyncio.wait_for"),
    (keep_the_core_pure, "nodelink_agent/core/agent.py", "from time import monotonic", "time.monotonic"),
    (keep_the_core_pure, "nodelink_agent/core/agent.py", "import random", "random"),
    (keep_the_core_pure, "nodelink_agent/core/agent.py", "import uuid", "uuid"),
    (keep_the_core_pure, "nodelink_agent/core/agent.py", "import os\nhome = os.environ['HOME']", "os.environ"),
    (
        keep_the_core_pure,
        "nodelink_agent/core/agent.py",
        "from datetime import datetime\nnow = datetime.now()",
        "datetime.datetime.now",
    ),
    (keep_libraries_out_of_the_core, "nodelink_server/core/task.py", "import grpc.aio", "grpc"),
    (keep_libraries_out_of_the_core, "nodelink_server/core/task.py", "from google.protobuf import any_pb2", "google"),
    (start_from_the_standard_library, "nodelink_agent/spawner.py", "import structlog", "structlog"),
    (start_from_the_standard_library, "nodelink_agent/spool.py", "import rich", "rich"),
    (start_from_the_standard_library, "nodelink_agent/__init__.py", "import rich", "rich"),
    (keep_libraries_at_home, "nodelink_server/web/tasks.py", "from sqlalchemy import select", "sqlalchemy"),
    (import_what_is_declared, "nodelink_agent/link.py", "import sqlalchemy", "sqlalchemy"),
    (import_what_is_declared, "nodelink_server/web/tasks.py", "import hypothesis", "hypothesis"),
    (import_what_is_declared, "nodelink_server/app.py", "import opentelemetry.trace", "opentelemetry"),
    (load_tracing_by_name, "nodelink_server/app.py", "from nodelink import tracing", "nodelink.tracing"),
)
SOUND = {
    "nodelink/task.py": "",
    "nodelink/durations.py": "",
    "nodelink/v1/task_pb2.py": "",
    "nodelink/wire.py": "from nodelink.task import TaskSpec\nfrom nodelink.v1 import task_pb2",
    "nodelink/tracing.py": "import opentelemetry.trace",
    "nodelink/client/sync.py": "from nodelink import wire",
    "nodelink/cli/main.py": "import click\nfrom nodelink.client import sync",
    "nodelink_server/core/task.py": "import asyncio\nimport structlog\nfrom nodelink.task import TaskSpec",
    "nodelink_server/store/sql.py": "import sqlalchemy\nfrom nodelink_server.core.task import Task",
    "nodelink_server/web/tasks.py": "import fastapi\nfrom ..core import task\nwhen = task.clock.now()",
    "nodelink_server/rpc/agents.py": "import grpc\nfrom nodelink import wire",
    "nodelink_server/app.py": "from nodelink_server.rpc import agents\nfrom nodelink_server.web import tasks",
    "nodelink_agent/core/agent.py": "from datetime import datetime\nfrom nodelink import task",
    "nodelink_agent/spool.py": "import os",
    "nodelink_agent/spawner.py": "import selectors\nfrom nodelink_agent import spool",
    "nodelink_agent/link.py": "import grpc\nfrom nodelink.v1 import task_pb2\nfrom nodelink_agent.core import agent",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_tree_breaks_no_rule(rule: Rule, tmp_path: Path) -> None:
    assert rule(_tree_of(SOUND, tmp_path)) == []


@pytest.mark.parametrize("rule,path,source,complaint", PLANTED)
def test_a_planted_violation_is_found(rule: Rule, path: str, source: str, complaint: str, tmp_path: Path) -> None:
    violations = rule(_tree_of(SOUND | {path: source}, tmp_path))
    assert len(violations) >= 1
    assert any(complaint in violation for violation in violations), violations


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, *_ in PLANTED} == set(RULES)


def _tree_of(files: Mapping[str, str], folder: Path) -> Tree:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        (path.parent / "__init__.py").touch()
    return read_tree(folder, *PACKAGES)


def _room(module: str) -> str:
    return max((room for room in MAY_IMPORT if _begins(module, room)), key=len)


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _inside(tree: Tree, *rooms: str) -> Iterator[Module]:
    return (module for module in tree.values() if any(_begins(module.name, room) for room in rooms))


def _loaded_by(name: str, tree: Tree) -> Iterator[Module]:
    """The module, the packages around it, and whatever they import of ours, however far away."""
    waiting, seen = [name], set[str]()
    while waiting:
        current = waiting.pop()
        if current in seen or current not in tree:
            continue
        seen.add(current)
        yield tree[current]
        waiting.append(current.rpartition(".")[0])
        waiting += [target.name for target in own_imports(tree[current], tree)]


def _violation(module: Module, reference: Reference, complaint: str) -> str:
    return f"{module.name}:{reference.line}: {reference.name}: {complaint}"


def _declared(extra: str) -> set[str]:
    """The names of the distributions that the project itself asks for: with an extra, or (empty) at its base."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return _names(project["optional-dependencies"][extra] if extra else project["dependencies"])


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
