"""Databases for tests: a clone of a template, gone when its test is over; migrations by hand."""

import itertools
import os
import select
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
from alembic import command
from alembic.config import Config
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, named before classes had capitals
from sqlalchemy import Engine, create_engine

from core.settings import read_settings
from dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent
_MEMORY = Path("/dev/shm")
_ROOM = 2_000_000_000

# Connections between two statements, to the databases that tests have now: to make one costs Postgres more than most statements.
_kept: dict[str, list[Connection]] = {}
# Databases whose test is over. To drop one at once is to wait a tenth of a second for those who have just hung up.
_left: deque[str] = deque()
_MOST_LEFT = 3
_numbers = itertools.count(1)


def quickest_place() -> Path:
    """For data that need not outlive the run: memory where there is room. A clone there takes a fifth of what it does on a disk."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if has_room else Path(tempfile.gettempdir())


@contextmanager
def new_database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    url = postgres.url(name)
    _kept.setdefault(postgres.url(), [])
    run(postgres.url(), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    _kept[url] = []
    yield url
    for connection in _kept.pop(url):
        connection.close()
    _left.append(name)
    if len(_left) > _MOST_LEFT:
        run(postgres.url(), f"DROP DATABASE {_left.popleft()} WITH (FORCE)")


def run(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """One statement by a connection that what is tested knows nothing of."""
    connection = _connection(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            found = cursor.fetchall() if cursor.description else []
    except BaseException:
        connection.close()
        raise
    if url in _kept and connection.info.transaction_status == TRANSACTION_STATUS_IDLE:
        _kept[url].append(connection)
    else:
        connection.close()
    return found


def _connection(url: str) -> Connection:
    with suppress(KeyError, IndexError):
        while connection := _kept[url].pop():
            looked = select.poll()
            looked.register(connection, select.POLLIN)
            if not looked.poll(0):  # a server that has ended it has said so
                return connection
            connection.close()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def migrate(url: str, revision: str = "head", *, down: bool = False) -> None:
    engine = engine_of(url)
    config = Config(str(ROOT / "alembic.ini"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
    engine.dispose()


def engine_of(url: str) -> Engine:
    address = read_settings({"DATABASE_URL": url}).database_url
    assert address is not None
    return create_engine(address.reveal())
