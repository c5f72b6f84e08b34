"""Why a database cannot be opened, or must not be used any longer."""

from __future__ import annotations

from nodelink.errors import StoreError


class DatabaseNotBuilt(StoreError):
    """This kind of database is not available in this version; use sqlite:///path."""


class DatabaseHeld(StoreError):
    """Another server uses this database."""


class DatabaseUnwritable(StoreError):
    """The database's files cannot be written."""


class DatabaseDamaged(StoreError):
    """The file is not a NodeLink database, or it is damaged."""


class DatabaseMixed(StoreError):
    """The two files of the database do not belong together."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of NodeLink."""


class CommitUnknown(Exception):
    """Nobody can say whether the last commit was made. The server has to stop: its next start reads what is true."""
