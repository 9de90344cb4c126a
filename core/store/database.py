"""The one door to Postgres: autocommit, one statement a round trip, driver errors translated in one place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, RowMapping, TextClause, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.errors import DatabaseConflict, DatabaseNotMigrated, DatabaseUnavailable, LatchkeyError

# SQLSTATE, whole or its class, to what it means here. Anything else is a defect and stays what it was.
_MEANING: Final[dict[str, type[LatchkeyError]]] = {
    "08": DatabaseUnavailable,  # connection exceptions
    "57P": DatabaseUnavailable,  # shut down, crashed, or not ready yet
    "53300": DatabaseUnavailable,  # too many connections
    "25006": DatabaseUnavailable,  # read-only: a failover is under way
    "23505": DatabaseConflict,  # unique violation
    "40": DatabaseConflict,  # serialisation failure, deadlock
    "42P01": DatabaseNotMigrated,  # undefined table
    "42703": DatabaseNotMigrated,  # undefined column
    "3D000": DatabaseNotMigrated,  # undefined database
}


class ConnectionDied(DatabaseUnavailable):
    """The connection to the database broke; whether the last statement was committed is not known."""


class Database:
    def __init__(self, url: str, *, pool_size: int, connect_timeout_s: int) -> None:
        self._engine: Engine = create_engine(
            url,
            # psycopg2 otherwise spends a round trip on BEGIN and one on COMMIT.
            isolation_level="AUTOCOMMIT",
            # It would ask every new connection for the numbers of a type that is not used.
            use_native_hstore=False,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout_s,
            pool_use_lifo=True,
            # An error that reaches a log must not carry somebody's message.
            hide_parameters=True,
            connect_args={
                "connect_timeout": connect_timeout_s,
                "application_name": "latchkey",
                "keepalives_idle": 30,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )

    def row(self, statement: TextClause, parameters: Mapping[str, Any]) -> RowMapping | None:
        """Runs one statement in a transaction of its own, and gives its first row."""
        with translated(), self._engine.connect() as connection:
            return connection.execute(statement, parameters).mappings().first()

    def rows(self, statement: TextClause, parameters: Mapping[str, Any]) -> list[RowMapping]:
        with translated(), self._engine.connect() as connection:
            return list(connection.execute(statement, parameters).mappings())

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def reason(error: BaseException) -> str:
    """What the driver says went wrong, in one line, for an operator. It names hosts and users, never a password."""
    cause = error.__cause__ or error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _meaning(error: DBAPIError) -> type[LatchkeyError] | None:
    if error.connection_invalidated:
        return ConnectionDied
    state: str | None = getattr(error.orig, "pgcode", None)
    if state is None:
        # The driver itself failed, before there was a server to give a state: no connection.
        return DatabaseUnavailable if isinstance(error, OperationalError) else None
    return next((_MEANING[state[:length]] for length in (5, 3, 2) if state[:length] in _MEANING), None)
