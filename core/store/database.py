"""The one door to Postgres: autocommit, one statement a round trip, driver errors translated in one place.

libpq waits for a reply without end: for a server that was cut off, or a pooler that has no server to give, until the
gateway gives up. So the driver waits through a function of ours, which knows how long there is. A statement that was
given up may still be carried out; each of ours may be sent again.
"""

import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from copy import copy
from functools import cache, partial
from typing import Any, Final

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, set_wait_callback
from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    NullPool,
    PoolProxiedConnection,
    TextClause,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core.deadline import Deadline
from core.errors import (
    DatabaseConflict,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    LatchkeyError,
    QuotesNobody,
)


class TakenBack(DatabaseConflict):
    """The database took a statement back in favour of another, so nothing was written: it can be sent again at once."""


# SQLSTATE, whole or its class, to what it means here. Anything else is a defect and stays what it was.
_MEANING: Final[dict[str, type[LatchkeyError]]] = {
    "08": DatabaseUnavailable,  # connection exceptions
    "57P": DatabaseUnavailable,  # shut down, crashed, or not ready yet
    "53300": DatabaseUnavailable,  # too many connections
    "25006": DatabaseUnavailable,  # read-only: a failover is under way
    "23505": DatabaseConflict,  # unique violation
    "23503": DatabaseConflict,  # what it refers to went at the same moment
    "40": TakenBack,  # serialisation failure, deadlock
    "42P01": DatabaseNotMigrated,  # undefined table
    "42703": DatabaseNotMigrated,  # undefined column
    "3D000": DatabaseNotMigrated,  # undefined database
}


Row = Mapping[str, Any]

_END_BY: Final = text(
    "SELECT set_config('statement_timeout', :ms, true), set_config('idle_in_transaction_session_timeout', :ms, true)"
)
# What Postgres takes as a number of milliseconds ends at about 24 days.
_LONGEST_S: Final = 86_400.0
_TO_TAKE_BACK_S: Final = 1.0
# How many errors an error may have come from.
_DEEPEST: Final = 20

# Beside who is connected to, and for how long that is tried.
_CONNECT_ARGUMENTS: Final = {
    "application_name": "latchkey",
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class ConnectionDied(DatabaseUnavailable):
    """The connection to the database broke; whether the last statement was committed is not known."""


class StatementRefused(QuotesNobody):
    """Postgres refused a statement of ours: a defect."""


class _Patience(threading.local):
    """Until when this thread waits for the server: to connect, then for a reply."""

    until = Deadline.never()


_patience = _Patience()


def _wait(connection: Any) -> None:
    """Called by psycopg2 whenever it would block, in every connection of the process."""
    while (state := connection.poll()) != POLL_OK:
        left_s = _patience.until.left_s()
        socket = select.poll()
        socket.register(connection.fileno(), {POLL_READ: select.POLLIN, POLL_WRITE: select.POLLOUT}[state])
        if not left_s or not socket.poll(None if left_s == float("inf") else max(1, left_s * 1000)):
            raise psycopg2.OperationalError("no answer in time")


class Database:
    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        connect_timeout_s: int,
        statement_timeout_s: float = 10.0,
        newer_url: Callable[[], str | None] | None = None,
    ) -> None:
        """`newer_url`: asked when nobody can connect by this one: it may have another password by now, or another host."""
        set_wait_callback(_wait)
        self._connect_timeout_s = connect_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._deadline = Deadline.never()
        self._engine = _engine(
            url,
            connect_timeout_s,
            newer_url,
            # psycopg2 otherwise spends a round trip on BEGIN and one on COMMIT.
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout_s,
            pool_use_lifo=True,
            # Nothing is ever left open to be rolled back.
            pool_reset_on_return=None,
        )
        # Without a pool: the one above may have a single connection, which the turn needs while its tools run.
        self._beside = cache(lambda: _engine(url, connect_timeout_s, newer_url, poolclass=NullPool))

    def by(self, deadline: Deadline) -> "Database":
        """The same door, for callers that have only so long."""
        hurried = copy(self)
        hurried._deadline = deadline
        return hurried

    def row(self, statement: TextClause, parameters: Mapping[str, Any]) -> Row | None:
        """Runs one statement in a transaction of its own, and gives its first row."""
        with self._cursor(statement, parameters) as cursor:
            row = cursor.fetchone()
            return None if row is None else _named(cursor, row)

    def rows(self, statement: TextClause, parameters: Mapping[str, Any]) -> list[Row]:
        with self._cursor(statement, parameters) as cursor:
            return [_named(cursor, row) for row in cursor.fetchall()]

    @contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """A new connection for the thread that asks for it, in a transaction that is committed at the end, and taken back on
        an exception or when its time is over. Errors are the driver's own.
        """
        before = _patience.until
        _patience.until = Deadline.after(self._connect_timeout_s).earlier(deadline)
        try:
            with self._beside().connect() as connection, connection.begin():
                try:
                    _patience.until = deadline
                    # The server too must let go of what is locked, if nobody is left to say so.
                    left_ms = max(1, round(1000 * min(deadline.left_s(), _LONGEST_S)))
                    connection.execute(_END_BY, {"ms": str(left_ms)})
                    yield connection
                    _must_be_left(deadline)
                except BaseException:
                    _patience.until = Deadline.after(_TO_TAKE_BACK_S)
                    raise
        finally:
            _patience.until = before

    @contextmanager
    def _cursor(self, statement: TextClause, parameters: Mapping[str, Any]) -> Iterator[Any]:
        """Past SQLAlchemy's own way to execute, which costs as much again as the driver's and gives nothing here."""
        _patience.until = Deadline.after(self._connect_timeout_s).earlier(self._deadline)
        try:
            with translated(), closing(self._engine.raw_connection()) as connection:
                _patience.until = Deadline.after(self._statement_timeout_s).earlier(self._deadline)
                with self._let_go_if_dead(connection):
                    cursor = connection.cursor()
                    cursor.execute(_for_the_driver(statement), parameters)
                    yield cursor
        finally:
            _patience.until = Deadline.never()

    @contextmanager
    def _let_go_if_dead(self, connection: PoolProxiedConnection) -> Iterator[None]:
        """Where one connection died the others of the pool are likely to be dead as well."""
        try:
            yield
        except psycopg2.Error as error:
            if connection.dbapi_connection is not None and connection.dbapi_connection.closed:
                connection.invalidate(error)
                self._engine.dispose()
                raise ConnectionDied from error
            if _meaning(error) is None:
                # What Postgres says of it quotes what was sent.
                raise StatementRefused(f"SQLSTATE {error.pgcode}") from None
            raise

    def close(self) -> None:
        self._engine.dispose()


def _must_be_left(deadline: Deadline) -> None:
    if not deadline.left_s():
        raise TimeoutError("the time of the tool is over, so nothing was committed")


def _engine(
    url: str, connect_timeout_s: int, newer_url: Callable[[], str | None] | None, **more: Any
) -> Engine:
    engine = create_engine(
        url,
        # It would ask every new connection for the numbers of a type that is not used.
        use_native_hstore=False,
        # An error that reaches a log must not carry somebody's message.
        hide_parameters=True,
        connect_args={"connect_timeout": connect_timeout_s, **_CONNECT_ARGUMENTS},
        **more,
    )
    if newer_url is not None:
        event.listen(engine, "do_connect", partial(_connect, newer_url))
    return engine


def _connect(
    newer_url: Callable[[], str | None], dialect: Any, _: Any, given: list[Any], named: dict[str, Any]
) -> Any:
    """Why a server refuses whoever wants to connect the driver has in words alone, in the server's language. So it is not asked
    why; where there is another address, that one is tried.
    """
    try:
        return dialect.connect(*given, **named)
    except psycopg2.OperationalError:
        url = newer_url()
        if url is None:
            raise
        given, instead = dialect.create_connect_args(make_url(url))
        timeout_s = named["connect_timeout"]
        return dialect.connect(*given, **{**instead, "connect_timeout": timeout_s, **_CONNECT_ARGUMENTS})


@cache
def _dialect() -> Dialect:
    """Loaded with the first engine, not before: it costs as much as a tenth of SQLAlchemy."""
    from sqlalchemy.dialects import postgresql

    dialect: Dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]  # it has no types
    return dialect


@cache
def _for_the_driver(statement: TextClause) -> str:
    return str(statement.compile(dialect=_dialect()))


def _named(cursor: Any, row: tuple[Any, ...]) -> Row:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))


@contextmanager
def translated() -> Iterator[None]:
    """For the driver's errors, and for SQLAlchemy's, which wrap them."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable from error
    except (DBAPIError, psycopg2.Error) as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def reason(error: BaseException) -> str:
    """What went wrong, in one line, for an operator. The driver names hosts and users, never a password. What others say may quote
    what they were given, such as a name in the archive: of them the kind is told, and AWS's code.
    """
    cause = error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    kind = type(cause).__name__
    if not isinstance(cause, (psycopg2.Error, SQLAlchemyError, QuotesNobody)):
        response = getattr(cause, "response", None)
        code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        return kind if code is None else f"{kind} ({code})"
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else kind


def sqlstate(error: BaseException | None) -> str | None:
    """The code of the driver's error that this one is or came from. None: it has to do with none."""
    for _ in range(_DEEPEST):
        original = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(original, psycopg2.Error):
            return original.pgcode or "unknown"
        if error is None:
            break
        error = error.__cause__ or error.__context__
    return None


def _meaning(error: DBAPIError | psycopg2.Error) -> type[LatchkeyError] | None:
    original = error.orig if isinstance(error, DBAPIError) else error
    state: str | None = getattr(original, "pgcode", None)
    if state is None:
        # The driver itself failed, before there was a server to give a state: no connection.
        return DatabaseUnavailable if isinstance(original, psycopg2.OperationalError) else None
    return next((_MEANING[state[:length]] for length in (5, 3, 2) if state[:length] in _MEANING), None)
