"""Opening the database: SQLite in WAL mode, or PostgreSQL by URL, brought to the newest schema.

SQLite's writers take the write lock when they begin, so that two processes wait for each other instead of failing
half-way; readers never wait. Erased rows are overwritten (`secure_delete`), not merely unlinked.
"""

import importlib.util
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from ...runs.errors import EnvironmentFault, UsageError, missing_extra
from ...runs.sqlite_file import OWNER_ONLY, create_owner_only, write_ahead

BUSY_S = 30  # how long a SQLite writer waits for another
MIGRATION_LOCK = 0x6D6E6174  # PostgreSQL advisory lock: one process migrates at a time
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


def connect(url: str) -> Engine:
    """An engine for a URL or a file path, its schema up to date.

    Args:
        url: "feedback.db", "sqlite:///feedback.db", "sqlite://" (in memory) or "postgresql://user:…@host/name".

    Raises:
        UsageError: no such kind of database.
        EnvironmentFault: it cannot be reached, or its schema is newer than this mnatune.
    """
    engine = _engine(url)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        with engine.execution_options(writing=True).begin() as connection:
            migrate(connection)
    except DatabaseError as error:
        engine.dispose()
        reason = str(error.orig).strip().split("\n", 1)[0]
        fault = f"the feedback database cannot be opened: {reason}"
        raise EnvironmentFault(fault, where=shown, next_step="check the URL and the server") from error
    return engine


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest version inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        fault = f"the feedback database was made by a newer mnatune: {error}"
        raise EnvironmentFault(fault, next_step="pip install --upgrade mnatune") from error


def _engine(url: str) -> Engine:
    if "://" not in url:
        url = f"sqlite:///{url}"
    try:
        address = make_url(url)
        kind = address.get_backend_name()
        if kind not in DRIVERS:
            raise UsageError(f"mnatune knows sqlite and postgresql, not {kind!r}", where="the feedback store's URL")
        address = address.set(drivername=DRIVERS[kind])
        if kind == "sqlite":
            return _sqlite(address)
        if importlib.util.find_spec("psycopg") is None:
            raise missing_extra("psycopg", "postgres")
        return create_engine(address, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, ValueError, SQLAlchemyError) as error:
        raise UsageError(f"not a database URL: {error}", next_step="such as postgresql://user@host/name") from error


def _sqlite(address: Any) -> Engine:
    in_memory = address.database in (None, "", ":memory:")
    if in_memory:  # one connection, lent to one thread at a time: another would see its own empty database
        one = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
        engine = create_engine(address, connect_args={"check_same_thread": False}, hide_parameters=True, **one)
    else:
        create_owner_only(Path(address.database))
        Path(address.database).chmod(OWNER_ONLY)
        engine = create_engine(address, connect_args={"timeout": BUSY_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(handle: Any, _: Any) -> None:
        handle.isolation_level = None  # the driver must not begin transactions of its own
        handle.execute(f"PRAGMA busy_timeout={round(BUSY_S * 1000)}")
        write_ahead(handle, BUSY_S)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            handle.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
