"""Takes the steps from an earlier schema to that of this version, with Alembic. A newer schema is refused.

Alembic takes long to load, so whoever needs no step does without this module; see `upgrade`.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from nodelink_server.store.errors import DatabaseDamaged, SchemaTooNew
from nodelink_server.store.schema import MIGRATIONS, Schema


def take_steps(connection: Connection, schema: Schema) -> None:
    """Take each missing step, in the transaction of the connection. Raises `SchemaTooNew`, `DatabaseDamaged`."""
    configuration = alembic_config(connection, schema)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and inspect(connection).get_table_names():
        raise DatabaseDamaged("the file holds the tables of something else than NodeLink")
    known = {script.revision for script in ScriptDirectory.from_config(configuration).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaTooNew(f"the database has the schema {current}, which only a newer version of NodeLink knows")
    command.upgrade(configuration, "head")


def alembic_config(connection: Connection, schema: Schema) -> Config:
    """The settings that Alembic works with."""
    configuration = Config(attributes={"connection": connection, "metadata": schema.metadata})
    configuration.set_main_option("path_separator", "newline")
    configuration.set_main_option("script_location", _escaped(MIGRATIONS))
    configuration.set_main_option("version_locations", _escaped(schema.steps))
    return configuration


def _escaped(path: Path) -> str:
    """A path as the value of a setting, in which a percent sign would begin a reference."""
    return str(path).replace("%", "%%")
