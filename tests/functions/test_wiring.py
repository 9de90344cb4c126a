"""The wiring: the house of a function, built from what Secrets Manager holds, and anew when that has changed."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from core.errors import SecretsUnavailable, SettingsWrong
from core.ids import SessionId
from core.settings import Settings, SettingsError
from dev.demo_model import DemoModel
from dev.postgres import EmbeddedPostgres
from functions import metrics
from functions.app import check
from functions.wiring import Wiring
from tests.aws import REGION, pretended
from tests.conversations import answer, arrival, until
from tests.databases import ROOT, migrate, run

NAME = "latchkey/test"
KEYS = {"2026-11": "only-for-this-test-and-long-enough"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with pretended(monkeypatch):
        yield boto3.client("secretsmanager")


@pytest.fixture
def secret(settings: Settings) -> dict[str, Any]:
    assert settings.database_url is not None
    return {
        "DATABASE_URL": settings.database_url.reveal(),
        "ANTHROPIC_API_KEY": "demo",
        "DEVICE_TOKEN_KEYS": KEYS,
    }


@pytest.fixture
def environ(model: DemoModel) -> dict[str, str]:
    return {"SECRETS_ID": NAME, "ANTHROPIC_BASE_URL": model.url}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("core.secrets.time.time", clock)
    return clock


def keep(manager: Any, held: dict[str, Any]) -> None:
    try:
        manager.create_secret(Name=NAME, SecretString=json.dumps(held))
    except manager.exceptions.ResourceExistsException:
        manager.put_secret_value(SecretId=NAME, SecretString=json.dumps(held))


@pytest.fixture
def wiring(manager: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Wiring]:
    clock = Clock()
    built = Wiring(environ, check)
    assert built._secrets is not None
    built._secrets._clock = clock
    monkeypatch.setattr(built, "clock", clock, raising=False)
    yield built
    built.close()


def pass_s(wiring: Wiring, seconds: float) -> None:
    assert wiring._secrets is not None
    clock = wiring._secrets._clock
    assert isinstance(clock, Clock)
    clock.now += seconds


# ---- without secrets


def test_without_a_secret_the_house_stands_at_once_and_stays(settings: Settings) -> None:
    assert settings.database_url is not None
    wiring = Wiring({"DATABASE_URL": settings.database_url.reveal(), "ACCESS_MODE": "open"}, check)
    house = wiring.house()
    assert wiring.house() is house
    assert house.settings == wiring.settings
    wiring.close()


def test_without_a_secret_what_is_wrong_shows_at_once() -> None:
    with pytest.raises(SettingsError, match="LEASE_TTL_S"):
        Wiring({"LEASE_TTL_S": "soon"})
    with pytest.raises(SettingsError, match="DEVICE_TOKEN_KEYS"):
        Wiring({}, check)


# ---- with


def test_with_one_nothing_is_asked_for_before_the_first_request(
    manager: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("too early")

    monkeypatch.setattr("core.secrets.client", asked)
    Wiring(
        {**environ, "REDIS_URL": "redis://127.0.0.1:1", "QUEUE_URL": "https://sqs.example.com/turns.fifo"},
        check,
    )


def test_what_of_the_environment_is_wrong_shows_at_once_all_the_same(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="LEASE_TTL_S"):
        Wiring({**environ, "LEASE_TTL_S": "soon"})


def test_half_of_a_pair_may_be_the_secrets(environ: dict[str, str]) -> None:
    Wiring({**environ, "UPSTASH_REDIS_REST_URL": "https://redis.example.com"}, check)
    with pytest.raises(SettingsError, match="both or neither"):
        Wiring({"ACCESS_MODE": "open", "UPSTASH_REDIS_REST_URL": "https://redis.example.com"}, check)


def test_the_house_is_built_of_both_and_answers(manager: Any, wiring: Wiring, secret: dict[str, Any]) -> None:
    keep(manager, secret)
    house = wiring.house()
    assert answer(house, arrival(uuid4())).status == "completed"
    assert wiring.house() is house
    pass_s(wiring, 301)
    assert wiring.house() is house, "nothing has changed"


def test_a_wake_up_that_is_lost_is_told_as_a_metric(
    manager: Any, environ: dict[str, str], secret: dict[str, Any]
) -> None:
    """Else a queue that takes nothing would ring nobody: nothing lies in it, and no worker fails."""
    keep(manager, secret)
    told: list[str] = []
    wiring = Wiring(
        {**environ, "QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/gone.fifo"}, check
    )
    metrics.begin("dev", told.append)
    try:
        turns = wiring.house().turns
        assert turns is not None
        assert turns.wakeups is not None
        turns.wakeups.wake(SessionId(uuid4()))
    finally:
        metrics.end()
        wiring.close()
    (line,) = map(json.loads, told)
    assert line["WakesLost"] == 1


def test_it_is_built_anew_when_the_secret_has_changed_and_the_old_one_is_closed(
    manager: Any, wiring: Wiring, secret: dict[str, Any], database_url: str
) -> None:
    keep(manager, secret)
    device = uuid4()
    first = wiring.house()
    answer(first, arrival(device, "My name is Ada."))
    keep(manager, {**secret, "ADMIN_TOKEN": "t" * 40})
    pass_s(wiring, 301)
    second = wiring.house()
    assert second is not first
    assert second.settings.admin_token is not None
    theirs = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'latchkey'"
    until(lambda: run(database_url, theirs) == [(0,)])
    turn = answer(second, arrival(device, "What is my name?"))
    assert "Ada" in str(turn.content)


def test_without_the_secret_nobody_is_served_and_then_everybody(
    manager: Any, wiring: Wiring, secret: dict[str, Any]
) -> None:
    with pytest.raises(SecretsUnavailable):
        wiring.house()
    keep(manager, secret)
    pass_s(wiring, 11)
    assert answer(wiring.house(), arrival(uuid4())).status == "completed"


@pytest.mark.parametrize(
    ("changed", "variable"),
    [
        ({"DATABASE_URL": "mysql://u:hunter2@h/x"}, "DATABASE_URL"),
        ({"DEVICE_TOKEN_KEYS": None}, "DEVICE_TOKEN_KEYS"),
        ({"DEVICE_TOKEN_KEYS": {"1": "hunter2"}}, "DEVICE_TOKEN_KEYS"),
    ],
)
def test_a_secret_that_is_wrong_is_told_by_its_variable_and_mended_soon(
    manager: Any,
    wiring: Wiring,
    secret: dict[str, Any],
    changed: dict[str, Any],
    variable: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep(manager, {**secret, **changed})
    for _ in range(3):
        with pytest.raises(SettingsWrong) as wrong:
            wiring.house()
    assert variable in wrong.value.detail
    assert "accepted" not in wrong.value.detail
    told = [record for record in caplog.records if "accepted: " in record.getMessage()]
    assert len(told) == 1, "not with each request"
    assert "hunter2" not in caplog.text + wrong.value.detail
    keep(manager, secret)
    pass_s(wiring, 11)
    wiring.house()


def test_once_it_has_become_wrong_the_house_that_stands_stays(
    manager: Any, wiring: Wiring, secret: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    keep(manager, secret)
    house = wiring.house()
    keep(manager, {**secret, "DATABASE_URL": "oops"})
    pass_s(wiring, 301)
    assert wiring.house() is house
    assert "DATABASE_URL" in caplog.text
    assert answer(house, arrival(uuid4())).status == "completed"
    keep(manager, {**secret, "ADMIN_TOKEN": "t" * 40})
    pass_s(wiring, 11)
    assert wiring.house() is not house, "what is wrong is looked after sooner"


# ---- a database that does not let us in any more


@pytest.fixture(scope="module")
def locked_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One that asks for a password, in words of its own."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("locked"), keep=False) as server:
        run(server.url(), "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'before'")
        run(server.url(), "CREATE DATABASE latchkey")
        rules = Path(server.data) / "pg_hba.conf"
        rules.write_text("local all app scram-sha-256\n" + rules.read_text())
        run(server.url(), "SELECT pg_reload_conf()")
        migrate(server.url("latchkey"))
        yield server


def address(server: EmbeddedPostgres, password: str) -> str:
    return server.url("latchkey").replace("postgres@", f"app:{password}@")


def test_a_changed_password_is_found_out_by_the_request_that_needs_it(
    locked_postgres: EmbeddedPostgres,
    manager: Any,
    wiring: Wiring,
    secret: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(locked_postgres.url(), "ALTER ROLE app PASSWORD 'before'")
    keep(manager, {**secret, "DATABASE_URL": address(locked_postgres, "before")})
    until(lambda: lets_in(address(locked_postgres, "before")))
    device = uuid4()
    house = wiring.house()
    assert answer(house, arrival(device, "first")).status == "completed"
    run(locked_postgres.url(), "ALTER ROLE app PASSWORD 'after'")
    keep(manager, {**secret, "DATABASE_URL": address(locked_postgres, "after")})
    run(locked_postgres.url(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    pass_s(wiring, 30)
    assert wiring.house() is house, "its time is not over"
    assert answer(house, arrival(device, "second")).status == "completed"
    assert wiring.house() is not house, "from here on it is the new one's"
    assert answer(wiring.house(), arrival(device, "third")).status == "completed"
    assert "after" not in caplog.text.replace("after that", "")


def test_a_password_that_is_wrong_is_not_asked_for_again_and_again(
    locked_postgres: EmbeddedPostgres,
    manager: Any,
    wiring: Wiring,
    secret: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from core.errors import DatabaseUnavailable
    from core.secrets import Secrets

    asked: list[object] = []
    fetch = Secrets._fetch

    def counted(self: Secrets) -> Any:
        asked.append(self)
        return fetch(self)

    monkeypatch.setattr(Secrets, "_fetch", counted)
    keep(manager, {**secret, "DATABASE_URL": address(locked_postgres, "guessed")})
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            answer(wiring.house(), arrival(uuid4()))
    assert len(asked) == 1, "it was read a moment ago"
    pass_s(wiring, 11)
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            answer(wiring.house(), arrival(uuid4()))
    assert len(asked) == 2


def lets_in(url: str) -> bool:
    try:
        psycopg2.connect(url.replace("postgresql+psycopg2", "postgresql")).close()
    except psycopg2.OperationalError:
        return False
    return True


# ---- as a process


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


_OPENS = """
import sys, threading
seen, start = [], threading.Thread.start
sys.addaudithook(lambda name, what: seen.append(name) if name.startswith("socket.") else None)
threading.Thread.start = lambda thread: (seen.append(f"thread:{thread.name}"), start(thread))[1]
import functions.api, functions.worker, functions.cleanup, functions.migrate
print(" ".join(seen))
"""


@pytest.mark.parametrize(
    "environ",
    [
        {"SECRETS_ID": NAME},
        {
            "DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
            "DEVICE_TOKEN_KEYS": json.dumps(KEYS),
            "REDIS_URL": "redis://127.0.0.1:1",
        },
        {
            "DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
            "DEVICE_TOKEN_KEYS": json.dumps(KEYS),
            "UPSTASH_REDIS_REST_URL": "http://127.0.0.1:1",
            "UPSTASH_REDIS_REST_TOKEN": "token",
            "ARCHIVE_BUCKET": "archive",
            "QUEUE_URL": "http://127.0.0.1:1/turns.fifo",
        },
    ],
)
def test_importing_a_function_opens_no_socket_and_starts_no_thread(environ: dict[str, str]) -> None:
    """What a snapshot of the process holds would wake in a hundred processes."""
    done = python(_OPENS, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", **environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_processes_of_one_snapshot_draw_numbers_of_their_own(settings: Settings) -> None:
    assert settings.database_url is not None
    drawn = set()
    for _ in range(3):
        wiring = Wiring({"DATABASE_URL": settings.database_url.reveal(), "ACCESS_MODE": "open"}, check)
        random.seed(4711)
        wiring.house()
        drawn.add(random.random())
        wiring.close()
    assert len(drawn) == 3


_ANSWER = """
import json, os, sys
answers, sys.stdout = sys.stdout, open(os.devnull, "w")
import functions.api
for event in json.load(sys.stdin):
    print(json.dumps(functions.api.handler(event, None)), file=answers, flush=True)
"""


def python(code: str, environ: dict[str, str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def event(method: str, path: str) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"},
            "requestId": "r-1",
        },
    }


def test_the_api_function_serves_from_its_secret(
    moto: str, environ: dict[str, str], secret: dict[str, Any]
) -> None:
    on_aws = {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    asks = json.dumps([event("GET", "/health"), event("GET", "/ready")])
    before = python(_ANSWER, {**environ, **on_aws}, asks)
    health, ready = map(json.loads, before.stdout.splitlines())
    assert health["statusCode"] == 200
    assert ready["statusCode"] == 503
    assert json.loads(ready["body"])["code"] == "secrets_unavailable"
    assert ready["headers"]["retry-after"]
    client = boto3.client(
        "secretsmanager",
        endpoint_url=moto,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    keep(client, secret)
    after = python(_ANSWER, {**environ, **on_aws}, asks)
    _, ready = map(json.loads, after.stdout.splitlines())
    assert json.loads(ready["body"])["status"] == "ready"
    assert secret["DEVICE_TOKEN_KEYS"]["2026-11"] not in after.stderr + after.stdout
