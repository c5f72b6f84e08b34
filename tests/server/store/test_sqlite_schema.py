"""The steps of the schema: they lead to the tables that the code knows, and back. What is new is made without them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from nodelink_server.store.connections import writing_engine
from nodelink_server.store.errors import DatabaseDamaged
from nodelink_server.store.migrations.whole import written_out
from nodelink_server.store.schema import LOGS, TASKS, Schema
from nodelink_server.store.steps import alembic_config, take_steps
from nodelink_server.store.upgrade import bring_up

SCHEMAS = [TASKS, LOGS]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = writing_engine(tmp_path / "some.db")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_the_steps_lead_to_the_tables_of_the_code(connection: Connection, schema: Schema) -> None:
    take_steps(connection, schema)

    context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})

    assert compare_metadata(context, schema.metadata) == []
    assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_the_steps_can_be_taken_back_and_again(connection: Connection, schema: Schema) -> None:
    take_steps(connection, schema)

    command.downgrade(alembic_config(connection, schema), "base")
    assert inspect(connection).get_table_names() == ["alembic_version"]
    command.upgrade(alembic_config(connection, schema), "head")

    assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_partial_indexes_keep_their_conditions(connection: Connection, schema: Schema) -> None:
    """A comparison of schemas does not look at conditions, so this does."""
    take_steps(connection, schema)

    for table in schema.metadata.tables.values():
        stored = {index["name"]: index for index in inspect(connection).get_indexes(table.name)}
        for index in table.indexes:
            wanted = index.dialect_options["sqlite"]["where"]
            found = stored[str(index.name)].get("dialect_options", {}).get("sqlite_where")
            assert str(found) == str(wanted)
            assert stored[str(index.name)]["column_names"] == [column.name for column in index.columns]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_bringing_up_what_is_up_changes_nothing(connection: Connection, schema: Schema) -> None:
    bring_up(connection, schema)
    bring_up(connection, schema)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_a_new_database_is_what_the_steps_lead_to(tmp_path: Path, schema: Schema) -> None:
    dumps = [dump_after(tmp_path / f"{way.__name__}.db", schema, way) for way in (bring_up, take_steps)]

    assert dumps[0] == dumps[1]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_what_makes_a_new_database_was_written_after_the_last_step(schema: Schema) -> None:
    """If not: `python -m nodelink_server.store.migrations.whole`."""
    assert schema.whole.read_text(encoding="utf-8") == written_out(schema)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_the_newest_step_is_known_without_alembic(connection: Connection, schema: Schema) -> None:
    scripts = ScriptDirectory.from_config(alembic_config(connection, schema))

    assert scripts.get_current_head() == schema.newest


def test_a_database_halfway_is_brought_up_by_the_missing_steps(connection: Connection) -> None:
    command.upgrade(alembic_config(connection, TASKS), "tasks_0003")

    bring_up(connection, TASKS)

    assert MigrationContext.configure(connection).get_current_revision() == TASKS.newest
    assert set(inspect(connection).get_table_names()) == {*TASKS.metadata.tables, "alembic_version"}


def test_a_database_that_names_no_step_is_refused(connection: Connection) -> None:
    bring_up(connection, TASKS)
    connection.exec_driver_sql("DELETE FROM alembic_version")

    with pytest.raises(DatabaseDamaged):
        bring_up(connection, TASKS)


def test_neither_a_new_database_nor_one_that_is_up_needs_alembic(tmp_path: Path) -> None:
    for _ in range(2):
        assert modules_after_opening(tmp_path) == "alembic: False, PostgreSQL: False"


def dump_after(path: Path, schema: Schema, way: Callable[[Connection, Schema], None]) -> list[str]:
    """All that is in a database: what it is made of, in the order that SQLite knows it, and the rows."""
    engine = writing_engine(path)
    with engine.begin() as connection:
        way(connection, schema)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        made = database.execute("SELECT type || ' ' || name FROM sqlite_master ORDER BY rowid")
        return [*(line for (line,) in made), *database.iterdump()]


def modules_after_opening(directory: Path) -> str:
    """What a process has loaded that has brought up a database."""
    program = f"""
import sys
from pathlib import Path
from nodelink_server.store.files import files_of, held
from nodelink_server.store.opening import prepare

files = files_of("sqlite:///{directory}/nodelink.db")
with held(files):
    prepare(files, lambda: "cluster")
print("alembic:", "alembic" in sys.modules, end=", ")
print("PostgreSQL:", "sqlalchemy.dialects.postgresql" in sys.modules)
"""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
