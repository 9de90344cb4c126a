"""The native client: what is said on connecting, and connections that died while they were kept."""

import pytest

from core.cache.commands import CacheFailed
from core.cache.native import NativeRedis
from core.settings import Secret
from dev.redis import EmbeddedRedis
from tests.cache.asking import LONG_S
from tests.cache.conftest import Way
from tests.cache.relay import Relay


def test_a_connection_that_was_closed_over_there_costs_no_answer(native: Way, relay: Relay) -> None:
    for _ in range(3):
        assert native.client.run([("PING",)], LONG_S) == ["PONG"]
        native.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert relay.connections >= 2


def test_a_connection_that_ends_at_the_first_byte_is_replaced_at_once(
    native: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a freeze: it looks well until it is used."""
    from redis.connection import AbstractConnection

    assert native.client.run([("PING",)], LONG_S) == ["PONG"]
    native.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    monkeypatch.setattr(AbstractConnection, "can_read", lambda *_: False)
    assert native.client.run([("PING",)], LONG_S) == ["PONG"]


def test_a_new_connection_that_ends_is_not_tried_again(native: Way, relay: Relay) -> None:
    relay.behave("reset")
    with pytest.raises(CacheFailed) as failed:
        native.client.run([("PING",)], LONG_S)
    assert failed.value.kind == "transport"
    assert relay.connections == 1


def test_a_connection_with_something_left_to_say_is_not_used_again(native: Way, relay: Relay) -> None:
    """Its next reply would be taken for that of another command."""
    assert native.client.run([("PING",)], LONG_S) == ["PONG"]
    relay.behave("say", b"+OK\r\n+OK\r\n", cut=False)
    assert native.client.run([("PING",)], LONG_S) == ["OK"]
    relay.behave("well", cut=False)
    assert native.client.run([("GET", "nothing")], LONG_S) == [None]


def test_what_was_idle_for_long_is_not_trusted(
    native: Way, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.client.run([("PING",)], LONG_S)
    native.client.run([("PING",)], LONG_S)
    assert relay.connections == 1
    monkeypatch.setattr("core.cache.native._IDLE_S", 0.0)
    native.client.run([("PING",)], LONG_S)
    assert relay.connections == 2


def test_nothing_is_said_on_connecting_but_auth_and_select(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(redis.url.removesuffix("/0") + "/3"))
    with redis.wire() as wire:
        wire.ask("CONFIG", "RESETSTAT")
        client.run([("GET", "k")], LONG_S)
        said = wire.ask("INFO", "commandstats")
    client.close()
    assert isinstance(said, bytes)
    names = [line.partition(b":")[0].removeprefix(b"cmdstat_") for line in said.splitlines()[1:]]
    assert {name for name in names if not name.startswith(b"config")} == {b"auth", b"select", b"get"}


def test_a_wrong_password_is_told_as_that(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(f"redis://:wrong@127.0.0.1:{redis.port}/0"))
    with pytest.raises(CacheFailed) as failed:
        client.run([("PING",)], LONG_S)
    assert failed.value.kind == "denied"
    client.close()


def test_serves_by_a_unix_socket_too(redis: EmbeddedRedis) -> None:
    client = NativeRedis(Secret(redis.socket_url))
    assert client.run([("PING",)], LONG_S) == ["PONG"]
    client.close()


def test_options_of_the_library_in_the_address_change_nothing(redis: EmbeddedRedis) -> None:
    """Such as a time-out of an hour, or replies that come decoded."""
    options = "?socket_timeout=3600&decode_responses=yes&max_connections=1&protocol=3&retry_on_timeout=yes"
    client = NativeRedis(Secret(redis.url + options))
    assert client.run([("SET", "k", "v"), ("GET", "k")], LONG_S) == ["OK", "v"]
    client.close()
