"""Databases for tests: a clone of a template, gone when its test is over; migrations by hand."""

import itertools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine

from core.settings import read_settings
from dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent
_numbers = itertools.count(1)


@contextmanager
def new_database(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    run(postgres.url(), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield postgres.url(name)
    run(postgres.url(), f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """One statement by a connection of its own, past all that is tested."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


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
