"""Each fault does what it says, to the statement that it was meant for, and leaves nothing behind."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import suppress
from typing import BinaryIO

import psycopg2
import pytest

from dev.postgres.processes import until
from tests.databases import run
from tests.network.clients import NAME, SILENCE_S, WAIT_S, ask, connected, meanwhile
from tests.network.faults import Fault, RandomFaults
from tests.network.line import Line
from tests.network.protocol import TERMINATE, Address, Exchange, Message, messages
from tests.network.proxy import FaultyProxy
from tests.network.threads import threads

ADD = "INSERT INTO notes VALUES (1)"


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultyProxy]:
    run(database_url, "CREATE TABLE notes (number int)")
    with FaultyProxy(database_url) as proxy:
        yield proxy


def notes(url: str) -> int:
    count: int = run(url, "SELECT count(*) FROM notes")[0][0]
    return count


def server_connections(url: str) -> list[tuple[str]]:
    return run(
        url,
        "SELECT state FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
        NAME,
    )


def is_let_go(url: str) -> bool:
    return until(lambda: not server_connections(url), WAIT_S)


def done(proxy: FaultyProxy) -> list[str]:
    return [str(one) for one in proxy.done]


def test_without_faults_nothing_is_changed(proxy: FaultyProxy, database_url: str) -> None:
    with connected(proxy.url) as connection:
        assert ask(connection, "SELECT repeat('x', 200000)") == [("x" * 200_000,)]
        assert len(ask(connection, "SELECT generate_series(1, 1000)")) == 1000
        with pytest.raises(psycopg2.errors.UndefinedTable):
            ask(connection, "SELECT 1 FROM nowhere")
        with connection.cursor() as cursor, pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SET statement_timeout = 1; SELECT pg_sleep(30)")
    assert is_let_go(database_url)
    assert proxy.done == []


def test_a_client_can_cancel(proxy: FaultyProxy, database_url: str) -> None:
    """Not by psycopg2, which keeps the whole interpreter while it waits, and so the proxy from answering."""
    with Raw(proxy.url) as raw:
        raw.send(query("SELECT pg_sleep(30)"))
        assert until(lambda: server_connections(database_url) == [("active",)], WAIT_S)
        raw.cancel()
        assert [one.kind for one in raw.reply()][-2:] == [b"E", b"Z"]


def test_a_server_on_tcp_is_reached_too(proxy: FaultyProxy) -> None:
    with FaultyProxy(proxy.url) as second, connected(second.url) as connection:
        assert ask(connection, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("close", [True, False])
def test_a_dropped_request_never_arrives(proxy: FaultyProxy, database_url: str, close: bool) -> None:
    proxy.faults.add(Fault.drop_request(matching="INSERT", close=close))
    with connected(proxy.url) as connection:
        asking = meanwhile(ask, connection, ADD)
        assert proxy.done.wait_for(1)
        assert is_let_go(database_url)
        if not close:
            assert not wait([asking], SILENCE_S).done
            proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), psycopg2.OperationalError)
    assert notes(database_url) == 0


@pytest.mark.parametrize("close", [True, False])
def test_a_dropped_reply_is_of_a_statement_that_is_committed(
    proxy: FaultyProxy, database_url: str, close: bool
) -> None:
    proxy.faults.add(Fault.drop_reply(matching="INSERT", close=close))
    with connected(proxy.url) as connection:
        asking = meanwhile(ask, connection, ADD)
        assert proxy.done.wait_for(1)
        assert notes(database_url) == 1
        assert is_let_go(database_url)
        if not close:
            assert not wait([asking], SILENCE_S).done
            proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), psycopg2.OperationalError)


def test_a_cut_reply_ends_after_so_many_bytes(proxy: FaultyProxy) -> None:
    proxy.faults.add(Fault.cut_reply(matching="SELECT", after_bytes=7))
    with Raw(proxy.url) as raw:
        raw.send(query("SELECT 1"))
        assert raw.everything() == b"T\0\0\0\x21\0\1"
        assert proxy.done.wait_for(1, 0), "recorded before the client can know"


def test_a_cut_reply_is_an_error_for_the_client(proxy: FaultyProxy, database_url: str) -> None:
    proxy.faults.add(Fault.cut_reply(matching="INSERT", after_bytes=3))
    with connected(proxy.url) as connection:
        assert isinstance(meanwhile(ask, connection, ADD).exception(WAIT_S), psycopg2.OperationalError)
    assert notes(database_url) == 1


def test_a_delayed_statement_comes_later_and_is_answered(proxy: FaultyProxy, database_url: str) -> None:
    proxy.faults.add(Fault.delay(0.2, matching="INSERT"))
    with connected(proxy.url) as connection:
        begun = time.monotonic()
        ask(connection, ADD)
        assert time.monotonic() - begun >= 0.2
        assert notes(database_url) == 1
        ask(connection, ADD)
    assert done(proxy) == ["delay delay_s=0.2: INSERT INTO notes VALUES"]


def test_a_held_statement_waits_for_the_event(proxy: FaultyProxy, database_url: str) -> None:
    let_go = threading.Event()
    proxy.faults.add(Fault.hold(let_go, matching="INSERT"))
    with connected(proxy.url) as connection:
        asking = meanwhile(ask, connection, ADD)
        assert proxy.done.wait_for(1)
        assert not wait([asking], SILENCE_S).done
        assert notes(database_url) == 0
        assert server_connections(database_url) == [("idle",)]
        let_go.set()
        assert asking.result(WAIT_S) == []
    assert notes(database_url) == 1


def test_a_held_statement_arrives_though_its_client_has_gone(proxy: FaultyProxy, database_url: str) -> None:
    let_go = threading.Event()
    proxy.faults.add(Fault.hold(let_go, matching="INSERT"))
    with Raw(proxy.url) as raw:
        raw.send(query(ADD))
        assert proxy.done.wait_for(1)
    let_go.set()
    assert is_let_go(database_url)
    assert notes(database_url) == 1


def test_a_statement_is_finished_though_its_client_has_gone(proxy: FaultyProxy, database_url: str) -> None:
    with connected(database_url) as locker:
        ask(locker, "BEGIN; LOCK TABLE notes")
        with Raw(proxy.url) as raw:
            raw.send(query(ADD))
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            assert until(lambda: bool(run(database_url, waiting)), WAIT_S)
        ask(locker, "COMMIT")
        assert until(lambda: notes(database_url) == 1, WAIT_S)
    assert is_let_go(database_url)


def test_a_fault_waits_for_its_statement_and_is_used_up_by_it(proxy: FaultyProxy, database_url: str) -> None:
    proxy.faults.add(Fault.drop_reply(matching="INSERT", close=True), Fault.delay(0, matching="SELECT"))
    proxy.faults.add(Fault.delay(0.001))
    with connected(proxy.url) as connection:
        ask(connection, "SELECT 1")
        ask(connection, "SELECT  2 +\n 3")
        with pytest.raises(psycopg2.OperationalError):
            ask(connection, ADD)
    with connected(proxy.url) as connection:
        ask(connection, ADD)
    assert done(proxy) == [
        "delay delay_s=0: SELECT 1",
        "delay delay_s=0.001: SELECT 2 + 3",
        "drop_reply close: INSERT INTO notes VALUES",
    ]
    assert not len(proxy.faults)
    assert notes(database_url) == 2


def test_the_extended_protocol_is_understood(proxy: FaultyProxy, database_url: str) -> None:
    """The statement is prepared in one exchange and carried out in another, which no longer holds its text."""
    proxy.faults.add(Fault.drop_reply(matching="INSERT", close=True))
    with Raw(proxy.url) as raw:
        raw.send(message(b"P", b"add\0" + ADD.encode() + b"\0\0\0") + message(b"S"))
        assert [one.kind for one in raw.reply()] == [b"1", b"Z"]
        raw.send(message(b"B", b"\0add\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0") + message(b"S"))
        assert raw.everything() == b""
    assert done(proxy) == ["drop_reply close: INSERT INTO notes VALUES"]
    assert notes(database_url) == 1


def test_statements_sent_at_once_are_lost_from_the_fault_on(proxy: FaultyProxy, database_url: str) -> None:
    proxy.faults.add(Fault.drop_request(matching="(2)", close=True))
    with Raw(proxy.url) as raw:
        raw.send(b"".join(query(f"INSERT INTO notes VALUES ({number})") for number in (1, 2, 3)))
        assert [one.kind for one in raw.reply()] == [b"C", b"Z"]
        assert raw.everything() == b""
    assert run(database_url, "SELECT number FROM notes") == [(1,)]


def test_the_end_of_the_start_up_is_not_taken_for_that_of_a_statement(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the proxy counts what its client already has: the first reply still comes whole before the fault."""
    asked = threading.Event()
    forward, count_down = Line._forward, Line._count_down

    def told(line: Line, exchange: Exchange) -> bool:
        forwarded = forward(line, exchange)
        if exchange.sql:
            asked.set()
        return forwarded

    def late(line: Line) -> None:
        assert asked.wait(WAIT_S)
        count_down(line)

    monkeypatch.setattr(Line, "_forward", told)
    monkeypatch.setattr(Line, "_count_down", late)
    proxy.faults.add(Fault.drop_request(matching="lost", close=True))
    with Raw(proxy.url) as raw:
        raw.send(query("SELECT pg_sleep(0.05)") + query("SELECT 'lost'"))
        assert [one.kind for one in raw.reply()] == [b"T", b"D", b"C", b"Z"]
        assert raw.everything() == b""


def test_encryption_is_declined(proxy: FaultyProxy) -> None:
    with connected(proxy.url.replace("sslmode=disable", "sslmode=prefer")) as connection:
        assert ask(connection, "SELECT 1") == [(1,)]


def test_a_database_that_is_down_cuts_and_refuses(proxy: FaultyProxy, database_url: str) -> None:
    with connected(proxy.url) as connection:
        asking = meanwhile(ask, connection, "SELECT pg_sleep(30)")
        assert until(lambda: server_connections(database_url) == [("active",)], WAIT_S)
        proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), psycopg2.OperationalError)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(proxy.url)
    proxy.accept()
    with connected(proxy.url) as connection:
        assert ask(connection, "SELECT 1") == [(1,)]


def test_what_is_held_when_the_database_goes_down_is_lost(proxy: FaultyProxy, database_url: str) -> None:
    let_go = threading.Event()
    proxy.faults.add(Fault.hold(let_go, matching="INSERT"))
    with connected(proxy.url) as connection:
        asking = meanwhile(ask, connection, ADD)
        assert proxy.done.wait_for(1)
        proxy.refuse()
        assert isinstance(asking.exception(WAIT_S), psycopg2.OperationalError)
    assert is_let_go(database_url)
    let_go.set()
    assert notes(database_url) == 0


def test_a_connect_can_hang(proxy: FaultyProxy) -> None:
    proxy.hang_connects()
    connecting = meanwhile(psycopg2.connect, proxy.url)
    assert not wait([connecting], SILENCE_S).done
    proxy.accept()
    with connected(proxy.url) as connection:
        assert ask(connection, "SELECT 1") == [(1,)]
    proxy.refuse()
    assert isinstance(connecting.exception(WAIT_S), psycopg2.OperationalError)


def test_no_server_is_a_closed_connection(database_url: str) -> None:
    with FaultyProxy("postgresql://postgres@/none?host=/nowhere") as proxy:
        connecting = meanwhile(psycopg2.connect, proxy.url)
        assert isinstance(connecting.exception(WAIT_S), psycopg2.OperationalError)


def test_nothing_is_left_behind(database_url: str) -> None:
    before = threads()
    with FaultyProxy(database_url) as proxy:
        proxy.faults.add(Fault.drop_request(matching="lost"), Fault.hold(threading.Event(), matching="held"))
        clients = [Raw(proxy.url) for _ in range(3)]
        for client, sql in zip(clients, ("SELECT 'lost'", "SELECT 'held'", "SELECT 1"), strict=True):
            client.send(query(sql))
        proxy.hang_connects()
        clients.append(Raw(proxy.url, logs_in=False))
        assert proxy.done.wait_for(2)
    assert threads() <= before
    for client in clients:
        with client:
            client.everything()
    assert is_let_go(database_url)


SEED = 20261121


def faults_by_chance(url: str, seed: int) -> list[str]:
    chance = RandomFaults(seed, rate=0.3, max_delay_s=0.001)
    with FaultyProxy(url, random_faults=chance) as proxy:
        for _ in range(20):
            with suppress(psycopg2.OperationalError), connected(proxy.url) as connection:
                for number in range(5):
                    ask(connection, f"SELECT {number}")
        return done(proxy)


def test_faults_by_chance_follow_from_the_seed(database_url: str) -> None:
    first = faults_by_chance(database_url, SEED)
    assert first == faults_by_chance(database_url, SEED)
    assert first != faults_by_chance(database_url, SEED + 1)
    assert {one.split()[0].rstrip(":") for one in first} == {
        "drop_request",
        "drop_reply",
        "cut_reply",
        "delay",
    }


def test_the_rate_is_that_of_the_statements() -> None:
    chance = RandomFaults(SEED, rate=0.1)
    dice = chance.dice(1)
    met = sum(chance.roll(dice) is not None for _ in range(5000))
    assert 400 < met < 600, f"seed {SEED}"


def test_only_the_kinds_that_were_named_come_by_chance() -> None:
    chance = RandomFaults(SEED, rate=1, kinds=("drop_reply",), silent_share=1)
    fault = chance.roll(chance.dice(1))
    assert fault is not None
    assert (fault.kind, fault.close) == ("drop_reply", False)
    with pytest.raises(ValueError, match="hold"):
        RandomFaults(SEED, kinds=("hold",))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://postgres@/a%20b?host=/run/pg&port=6", Address("postgres", "/run/pg", 6, "a b")),
        (
            "postgresql://me:secret@db:7/x?connect_timeout=3",
            Address("me:secret", "db", 7, "x", (("connect_timeout", "3"),)),
        ),
        ("postgresql:///x", Address("postgres", "127.0.0.1", 5432, "x")),
    ],
)
def test_an_address_is_read_from_its_url(url: str, address: Address) -> None:
    assert Address.of(url) == address
    behind = Address.of(address.through(9))
    assert (behind.login, behind.host, behind.port, behind.database) == (
        address.login, "127.0.0.1", 9, address.database,
    )  # fmt: skip


# --- a client that sends what it is told to, byte by byte


class Raw:
    def __init__(self, url: str, *, logs_in: bool = True) -> None:
        address = Address.of(url)
        self._socket = socket.create_connection((address.host, address.port), WAIT_S)
        self._said: BinaryIO = self._socket.makefile("rb")
        if logs_in:
            words = ["user", address.login, "database", address.database, "application_name", NAME, ""]
            body = struct.pack("!I", 3 << 16) + b"".join(word.encode() + b"\0" for word in words)
            self.send(struct.pack("!I", len(body) + 4) + body)
            self._key = next(one.raw[5:] for one in self.reply() if one.kind == b"K")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.send(TERMINATE)
        self._said.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def cancel(self) -> None:
        """By a connection of its own, as the protocol wants it."""
        with socket.create_connection(self._socket.getpeername()[:2], WAIT_S) as other:
            other.sendall(struct.pack("!II", 16, 80877102) + self._key)
            assert other.recv(1) == b""

    def reply(self) -> list[Message]:
        """Up to ready for query."""
        said = []
        for one in messages(self._said):
            said.append(one)
            if one.kind == b"Z":
                break
        return said

    def everything(self) -> bytes:
        """Until the connection ends."""
        with suppress(ConnectionError):
            return self._said.read()
        return b""


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def query(sql: str) -> bytes:
    return message(b"Q", sql.encode() + b"\0")
