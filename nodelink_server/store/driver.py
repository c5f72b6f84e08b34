"""Statements that go past SQLAlchemy, to SQLite's driver itself.

For those of each commit, which return nothing: what SQLAlchemy does around a statement takes longer than SQLite takes
for a row, and a single task pays for a dozen of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def execute(connection: Connection, text: str, values: Sequence[object] = ()) -> int:
    """Run a statement; how many rows of a table it touched. Raises what SQLAlchemy would raise."""
    driver = connection.connection.dbapi_connection  # which is the driver's own, and takes three calls less to reach
    assert isinstance(driver, sqlite3.Connection)
    try:
        return driver.execute(text, values).rowcount
    except sqlite3.Error as error:
        raise DBAPIError.instance(text, None, error, sqlite3.Error, hide_parameters=True) from error
