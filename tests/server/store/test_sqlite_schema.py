"""The steps of the schema: they lead to the tables that the code knows, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from nodelink_server.store.connections import writing_engine
from nodelink_server.store.schema import LOGS, TASKS, Schema, alembic_config, bring_up

SCHEMAS = [TASKS, LOGS]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = writing_engine(tmp_path / "some.db")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_the_steps_lead_to_the_tables_of_the_code(connection: Connection, schema: Schema) -> None:
    bring_up(connection, schema)

    context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})

    assert compare_metadata(context, schema.metadata) == []
    assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_the_steps_can_be_taken_back_and_again(connection: Connection, schema: Schema) -> None:
    bring_up(connection, schema)

    command.downgrade(alembic_config(connection, schema), "base")
    assert inspect(connection).get_table_names() == ["alembic_version"]
    command.upgrade(alembic_config(connection, schema), "head")

    assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_partial_indexes_keep_their_conditions(connection: Connection, schema: Schema) -> None:
    """A comparison of schemas does not look at conditions, so this does."""
    bring_up(connection, schema)

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
