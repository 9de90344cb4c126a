"""The primary, watched from outside: what its processes, its tables and its log have cost so far."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import psutil
import psycopg2

from dev.postgres import EmbeddedPostgres
from dev.postgres.processes import postmaster_named_in, until

# How a server stands when it has nothing to do with replicas and backups yet could: as every managed one does.
AS_DEPLOYED = {"wal_level": "replica", "max_wal_senders": "10", "max_connections": "300", "autovacuum": "off"}

_BYTES = """SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r'"""
_ROWS = "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_hot_upd), sum(n_tup_del) FROM pg_stat_user_tables"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used up between two looks."""

    cpu_s: float
    bytes: float
    wal: float
    full_pages: float
    inserted: float
    updated: float
    updated_in_place: float
    deleted: float

    def each(self, turns: int) -> "Spent":
        return Spent(*(getattr(self, name) / turns for name in Spent.__slots__))


class Primary:
    """`bench` is the database that is measured; looks at it go by a connection of their own, so they do not count as turns'."""

    def __init__(self, server: EmbeddedPostgres, url: str) -> None:
        self.url = url
        postmaster = postmaster_named_in(server.data / "postmaster.pid", server.data)
        assert postmaster is not None
        self._postmaster = postmaster
        # Its own connection, kept open: a new one for each look would be counted along.
        self._connection = psycopg2.connect(url, application_name="bench")
        self._connection.autocommit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def during(self, work: Callable[[], object]) -> Spent:
        """From a checkpoint on, as whole pages are written to the log once after each; vacuumed at the end."""
        self._ask("VACUUM")
        self._ask("CHECKPOINT")
        before = Look.of(self)
        work()
        # The counts of a process reach the others when it ends; `work` has closed its connections.
        until(lambda: self.connections() == 0, 10)
        cpu_s = self.cpu_s()
        wal = Look.of(self)
        self._ask("VACUUM")
        after = Look.of(self)
        return Spent(
            cpu_s - before.cpu_s,
            after.bytes - before.bytes,
            wal.wal - before.wal,
            wal.full_pages - before.full_pages,
            *(late - early for late, early in zip(wal.rows, before.rows, strict=True)),
        )

    def cpu_s(self) -> float:
        """Of all its processes, those that are over included: their time is their parent's from the moment on that it hears of it."""
        while True:
            children = self._postmaster.children()
            with suppress(psutil.NoSuchProcess):
                own = [process.cpu_times() for process in (self._postmaster, *children)]
                if self._postmaster.children() == children:
                    return sum(times.user + times.system for times in own) + (
                        own[0].children_user + own[0].children_system
                    )

    def connections(self) -> int:
        return int(
            self._ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'latchkey'")[0][0]
        )

    def memory_of(self, pid: int) -> int:
        """What one connection has for itself alone."""
        return int(psutil.Process(pid).memory_full_info().uss)

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True)
class Look:
    cpu_s: float
    bytes: float
    wal: float
    full_pages: float
    rows: tuple[float, ...]

    @classmethod
    def of(cls, primary: Primary) -> Self:
        cpu_s = primary.cpu_s()
        ((size,),) = primary._ask(_BYTES)
        ((wal,),) = primary._ask("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        ((full,),) = primary._ask("SELECT wal_fpi FROM pg_stat_wal")
        (rows,) = primary._ask(_ROWS)
        return cls(cpu_s, float(size), float(wal), float(full), tuple(float(count) for count in rows))
