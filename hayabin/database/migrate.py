"""Bring a database to the newest schema: ``python -m hayabin.database.migrate`` or ``upgrade(url)``.

Promises: safe to run from several places at once (advisory lock) and again (nothing to do then).
Fails: a user who may not make the roles of row-level security ends with ``RolesMissing``, which says what to run; a
lock that is not had within 5 s, or a database that cannot be reached, ends with the driver's error.
"""

import sys
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from hayabin.settings import DatabaseSettings

_MIGRATIONS = Path(__file__).parent / "migrations"


_MAY_NOT = "42501"


class RolesMissing(Exception):
    """The database's user may not do what the migration needs; the message says what an administrator has to run."""


def alembic_config(url: str) -> Config:
    """Alembic's configuration for our migrations and that database."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Apply every migration that ``url`` does not have yet; may be called from within a running event loop too."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            command.upgrade(alembic_config(url), "head")
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="migrate")  # Alembic's environment calls asyncio.run
    thread.start()
    thread.join()
    if not failures:
        return
    failure = failures[0]
    if isinstance(failure, DBAPIError) and getattr(failure.orig, "sqlstate", None) == _MAY_NOT:
        raise RolesMissing(str(failure.orig).partition(">: ")[2] or str(failure.orig)) from failure
    raise failure


def main() -> int:
    """Entry of the migration job."""
    try:
        upgrade(DatabaseSettings().database_url.get_secret_value())
    except RolesMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
