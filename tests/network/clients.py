"""Clients of a network that may fail: one statement each time, and a bounded wait for what may never come."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, named before classes had capitals

WAIT_S = 10.0
SILENCE_S = 0.2  # how long nothing must come for it to count as silence

NAME = "behind-the-network"


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(url, application_name=NAME)) as connection:
        connection.autocommit = True
        yield connection


def ask(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def meanwhile(work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """In a thread that ends with its work; closing the proxy ends what waits without end."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run).start()
    return future
