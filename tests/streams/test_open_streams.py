"""Streams that are open while something happens: on real servers, as a client in the test's own process would not see them come."""

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.digest import digest
from dev.demo_model import DemoModel, Fault, Reply
from dev.redis import RedisFront
from tests.conversations import until
from tests.databases import run
from tests.streams.conftest import Serve, Server
from tests.streams.phone import Json, Phone, check

SLOW = Fault.drip(0.05, size=60)
LONG = "A sentence that takes its time to be said. " * 40


@contextmanager
def stream(
    server: Server, device: UUID, method: str, path: str, body: Json | None = None, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=40)) as connection:
        given = {"X-Device-ID": str(device), "Accept": "text/event-stream", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), given)
        yield connection.getresponse()


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def ask(server: Server, device: UUID, method: str, path: str, body: Json | None = None) -> tuple[int, Any]:
    phone = Phone(itertools.repeat(server.port), random.Random(0), device=device)
    return phone.ask(method, path, body)


def names(answer: http.client.HTTPResponse) -> list[str]:
    return [name for name, _ in events(answer)]


def test_a_device_that_is_revoked_hears_no_more_of_a_stream_that_is_open(
    serve: Serve, model: DemoModel, database_url: str
) -> None:
    (server,) = serve(1)
    device = uuid4()
    model.replies.add(Reply(LONG))
    model.faults.add(SLOW)
    with stream(server, device, "POST", "/v1/turns", {"message": "Hi"}) as answer:
        told = events(answer)
        assert next(told)[0] == "turn_started"
        run(database_url, "UPDATE connections SET revoked_at = now()")
        since = time.monotonic()
        rest = list(told)
        assert rest[-1] == ("access_ended", {"code": "device_barred"})
        assert time.monotonic() - since < 5
        assert "turn_ended" not in [name for name, _ in rest]


def test_a_link_that_is_taken_back_ends_the_streams_that_it_opened(
    serve: Serve, model: DemoModel, database_url: str
) -> None:
    (server,) = serve(1)
    owner, guest = uuid4(), uuid4()
    model.replies.add(Reply(LONG))
    model.faults.add(SLOW)
    with stream(server, owner, "POST", "/v1/turns", {"message": "Hi"}) as answer:
        location, session = answer.headers["Location"], answer.headers["X-Session-Version"].split(".")[0]
        secret = f"{session}.{'s' * 43}"
        run(
            database_url,
            "INSERT INTO share_links (session_id, id, digest, role, expires_at) VALUES (%s, %s, %s, 'viewer', now() + interval '1 hour')",
            session,
            str(uuid4()),
            digest(secret),
        )
        with stream(server, guest, "GET", f"{location}/events", None, **{"X-Share-Link": secret}) as theirs:
            assert theirs.status == 200
            told = events(theirs)
            assert [next(told)[0] for _ in range(3)] == ["turn_started", "agent_changed", "text_delta"]
            run(database_url, "UPDATE share_links SET revoked_at = now()")
            assert list(told)[-1] == ("access_ended", {"code": "turn_not_found"})
        with stream(server, guest, "GET", f"{location}/events", None, **{"X-Share-Link": secret}) as theirs:
            assert theirs.status == 404
        assert names(answer)[-1] == "turn_ended", "the owner's own goes on"


def test_a_stranger_finds_no_stream(serve: Serve) -> None:
    (server,) = serve(1)
    with stream(server, uuid4(), "POST", "/v1/turns", {"message": "Hi"}) as answer:
        location = answer.headers["Location"]
        assert names(answer)[-1] == "turn_ended"
    status, theirs = ask(server, uuid4(), "GET", f"{location}/events")
    _, none = ask(server, uuid4(), "GET", f"/v1/turns/{uuid4()}/events")
    assert status == 404
    assert theirs["code"] == "turn_not_found"
    assert {**theirs, "request_id": ""} == {**none, "request_id": ""}


def test_fifty_streams_at_once_on_one_process(serve: Serve, model: DemoModel) -> None:
    (server,) = serve(1)
    model.faults.add(*[Fault.drip(0.1, size=300)] * 25)

    def talk(number: int) -> None:
        chance = random.Random(number)
        phone = Phone(itertools.repeat(server.port), chance)
        if number % 2:
            chance.random = lambda: 1.0  # type: ignore[method-assign]  # never cut within an event
        phone.say(f"Hello {number}", key="k")
        check(phone)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(talk, range(50)))


def test_the_work_goes_on_though_the_client_has_gone(
    serve: Serve, model: DemoModel, database_url: str
) -> None:
    (server,) = serve(1)
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with stream(server, uuid4(), "POST", "/v1/turns", {"message": "Hi"}) as answer:
        assert answer.status == 200
    gate.set()
    until(lambda: run(database_url, "SELECT status FROM turns") == [("completed",)])


@pytest.mark.parametrize("has_redis", [False, True])
def test_who_comes_later_to_another_server_reads_along_before_it_is_stored(
    serve: Serve, model: DemoModel, database_url: str, front: RedisFront, has_redis: bool
) -> None:
    """The message was sent without a stream: its holder hears with a beat of its heart that somebody reads along."""
    where = {"UPSTASH_REDIS_REST_URL": front.url, "UPSTASH_REDIS_REST_TOKEN": front.token}
    one, other = serve(2, **(where if has_redis else {}))
    device = uuid4()
    model.replies.add(Reply(LONG))
    model.faults.add(Fault.drip(0.06, size=60))
    with ThreadPoolExecutor(1) as pool:
        plain = pool.submit(ask, one, device, "POST", "/v1/turns", {"message": "Hi"})
        until(lambda: bool(run(database_url, "SELECT id FROM turns")))
        ((turn,),) = run(database_url, "SELECT id FROM turns")
        assert run(database_url, "SELECT is_followed FROM turns") == [(False,)]
        with stream(other, device, "GET", f"/v1/turns/{turn}/events") as answer:
            told = events(answer)
            while next(told)[0] != "text_delta":
                pass
            assert run(database_url, "SELECT status FROM turns") == [("running",)]
            assert run(database_url, "SELECT count(*) FROM partials") == [(0 if has_redis else 1,)]
            assert [name for name, _ in told][-1] == "turn_ended"
        assert plain.result(40)[0] in (200, 202)
    until(lambda: not run(database_url, "SELECT seq FROM partials"))


def test_a_stop_ends_the_text_and_the_stream_wherever_it_is_read(serve: Serve, model: DemoModel) -> None:
    one, other = serve(2)
    device = uuid4()
    model.replies.add(Reply(LONG * 3))
    model.faults.add(SLOW)
    with stream(one, device, "POST", "/v1/turns", {"message": "Hi"}) as answer:
        told = events(answer)
        while next(told)[0] != "text_delta":
            pass
        status, _ = ask(other, device, "POST", f"{answer.headers['Location']}/cancel")
        assert status in (200, 202)
        rest = list(told)
        assert [name for name, _ in rest if name != "text_delta"] == ["text_discarded", "turn_ended"]
        assert rest[-1][1]["turn"]["status"] == "cancelled"


def test_a_message_that_is_sent_again_goes_on_where_its_reader_was(serve: Serve, model: DemoModel) -> None:
    one, other = serve(2)
    device, key = uuid4(), {"Idempotency-Key": "k"}
    model.replies.add(Reply("One two three four five six seven eight nine ten. " * 10))
    with stream(one, device, "POST", "/v1/turns", {"message": "Hi"}, **key) as answer:
        lines = [line.decode().strip() for line in answer]
    ids = [line[4:] for line in lines if line.startswith("id: ")]
    at = [line for line in lines if line.startswith("event: ")].index("event: text_delta")
    again = {**key, "Last-Event-ID": ids[at]}
    with stream(other, device, "POST", "/v1/turns", {"message": "Hi"}, **again) as answer:
        whole = [line.decode().strip() for line in answer]
    assert [line for line in whole if line.startswith("event: ")][-1] == "event: turn_ended"
    assert "event: turn_started" not in whole
    with stream(
        other, device, "POST", "/v1/turns", {"message": "Hi"}, **{**key, "Last-Event-ID": ids[-1]}
    ) as answer:
        assert answer.status == 204
    assert len(model.requests) == 1
    nothing = {"message": "Hi", "wait_s": 0}
    with stream(one, device, "POST", "/v1/turns", nothing, **{"Last-Event-ID": ids[0]}) as answer:
        assert (answer.status, json.load(answer)["code"]) == (400, "last_event_id_without_key")
    with stream(one, device, "POST", "/v1/turns", nothing, **{**key, "Last-Event-ID": "7"}) as answer:
        assert (answer.status, json.load(answer)["code"]) == (400, "last_event_id_malformed")


def test_what_is_wrong_before_the_message_is_taken_is_a_problem_as_ever(serve: Serve) -> None:
    (server,) = serve(1)
    status, problem = ask(server, uuid4(), "POST", "/v1/turns", {"message": " "})
    with stream(server, uuid4(), "POST", "/v1/turns", {"message": " "}) as answer:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.status, json.load(answer)["code"]) == (status, problem["code"])


def test_an_open_stream_ends_by_itself_and_shows_that_it_lives(serve: Serve, model: DemoModel) -> None:
    (server,) = serve(1, STREAM_S="12")
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    device = uuid4()
    with stream(server, device, "POST", "/v1/turns", {"message": "Hi"}) as answer:
        begun = time.monotonic()
        lines = [line.decode().strip() for line in answer]
        assert 11 < time.monotonic() - begun < 20
        assert lines[0] == "retry: 1000"
        assert ": still here" in lines
        assert [line for line in lines if line.startswith("event")] == ["event: turn_started"]
        location = answer.headers["Location"]
    gate.set()
    with stream(server, device, "GET", f"{location}/events") as answer:
        assert names(answer)[-1] == "turn_ended"
