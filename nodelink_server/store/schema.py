"""The schemas of this version: their tables, the steps that lead there, and what all steps together come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import MetaData

from nodelink_server.store.tables import logs_metadata, tasks_metadata

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database as the code wants them, and where the steps that lead there are."""

    name: str
    metadata: MetaData

    @property
    def steps(self) -> Path:
        """The folder of the steps."""
        return MIGRATIONS / "versions" / self.name

    @property
    def whole(self) -> Path:
        """The statements that make at once what the steps lead to; `migrations.whole` writes them."""
        return MIGRATIONS / f"{self.name}.sql"

    @property
    def newest(self) -> str:
        """The last step, as its file's name tells it: `tasks_0007`, known without Alembic."""
        number = max(path.name.partition("_")[0] for path in self.steps.glob("[0-9]*.py"))
        return f"{self.name}_{number}"


TASKS = Schema("tasks", tasks_metadata)
LOGS = Schema("logs", logs_metadata)
