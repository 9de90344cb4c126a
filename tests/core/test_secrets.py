"""Secrets: read at first use, kept for a while, and never said."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from core import aws
from core.errors import SecretsUnavailable
from core.secrets import Secrets

NAME = "latchkey/test"
PASSWORD = "hunter2-of-the-database"
URL = f"postgresql://latchkey:{PASSWORD}@db.example.com/latchkey"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Away:
    """Secrets Manager, which cannot be reached until it is mended, and counts who asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.is_away = False
        real = aws.client("secretsmanager", aws.ON_THE_WAY)

        def get_secret_value(**named: Any) -> Any:
            self.asked += 1
            if self.is_away:
                raise EndpointConnectionError(endpoint_url="https://secretsmanager.example.com")
            return real.get_secret_value(**named)

        class Client:
            pass

        client = Client()
        client.get_secret_value = get_secret_value  # type: ignore[attr-defined]  # stands in for boto3's
        monkeypatch.setattr("core.secrets.client", lambda *_: client)


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        aws.client.cache_clear()
        yield boto3.client("secretsmanager")
    aws.client.cache_clear()


@pytest.fixture
def away(manager: Any, monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets(clock: Clock) -> Secrets:
    return Secrets(NAME, 300, clock=clock)


def holds(manager: Any, text: str) -> None:
    try:
        manager.create_secret(Name=NAME, SecretString=text)
    except manager.exceptions.ResourceExistsException:
        manager.put_secret_value(SecretId=NAME, SecretString=text)


def keep(manager: Any, **variables: Any) -> None:
    holds(manager, json.dumps(variables))


def test_it_is_read_at_first_use_and_then_again_when_its_time_is_over(
    manager: Any, away: Away, secrets: Secrets, clock: Clock
) -> None:
    keep(manager, DATABASE_URL=URL)
    assert away.asked == 0
    assert secrets.read() == {"DATABASE_URL": URL}
    for _ in range(3):
        secrets.read()
    assert away.asked == 1
    clock.now += 299
    secrets.read()
    assert away.asked == 1
    clock.now += 2
    secrets.read()
    assert away.asked == 2


def test_what_has_not_changed_is_the_same_object(manager: Any, secrets: Secrets, clock: Clock) -> None:
    keep(manager, DATABASE_URL=URL)
    first = secrets.read()
    clock.now += 301
    assert secrets.read() is first
    keep(manager, DATABASE_URL=URL + "2")
    clock.now += 301
    assert secrets.read() is not first
    assert secrets.read() == {"DATABASE_URL": URL + "2"}


def test_a_clock_that_was_set_back_keeps_nothing_for_longer(
    manager: Any, away: Away, secrets: Secrets, clock: Clock
) -> None:
    keep(manager, DATABASE_URL=URL)
    secrets.read()
    clock.now -= 1_000
    secrets.read()
    assert away.asked == 2


def test_while_it_is_away_what_was_read_stays_and_it_is_asked_once_in_a_while(
    manager: Any, away: Away, secrets: Secrets, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    keep(manager, DATABASE_URL=URL)
    first = secrets.read()
    away.is_away = True
    clock.now += 301
    for _ in range(5):
        assert secrets.read() is first
    assert away.asked == 2
    assert "what was read before stays" in caplog.text
    clock.now += 11
    secrets.read()
    assert away.asked == 3
    away.is_away = False
    keep(manager, DATABASE_URL=URL + "2")
    clock.now += 11
    assert secrets.read() == {"DATABASE_URL": URL + "2"}


def test_while_it_hangs_no_request_waits_for_it_for_long(
    manager: Any, secrets: Secrets, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a turn's own budget there are five seconds before the gateway gives up."""
    keep(manager, DATABASE_URL=URL)
    first = secrets.read()
    hangs = threading.Event()
    monkeypatch.setattr(Secrets, "_asked", lambda _: hangs.wait(20))
    clock.now += 301
    begun = time.monotonic()
    assert secrets.read() is first
    assert secrets.read() is first
    assert time.monotonic() - begun < 4
    hangs.set()


def test_where_nothing_was_ever_read_nobody_is_served_until_it_is(
    manager: Any, away: Away, secrets: Secrets, clock: Clock
) -> None:
    keep(manager, DATABASE_URL=URL)
    away.is_away = True
    for _ in range(5):
        with pytest.raises(SecretsUnavailable) as unavailable:
            secrets.read()
    assert unavailable.value.retry_after_s
    assert away.asked == 1, "who waits for an answer does not wait for each try"
    away.is_away = False
    clock.now += 11
    assert secrets.read() == {"DATABASE_URL": URL}


def test_a_secret_that_is_not_there_says_so_in_the_log(
    secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SecretsUnavailable):
        secrets.read()
    assert "ResourceNotFoundException" in caplog.text
    assert NAME in caplog.text


@pytest.mark.parametrize(
    "text", [PASSWORD, f'"{PASSWORD}"', f'["{PASSWORD}"]', "null", f'{{"DATABASE_URL": "{PASSWORD}"', ""]
)
def test_what_is_no_object_is_not_taken_and_not_quoted(
    manager: Any, secrets: Secrets, clock: Clock, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not text:
        manager.create_secret(Name=NAME, SecretBinary=PASSWORD.encode())
    else:
        holds(manager, text)
    with pytest.raises(SecretsUnavailable) as unavailable:
        secrets.read()
    assert "no JSON object" in caplog.text
    errors: list[BaseException | None] = [unavailable.value]
    while errors[-1] is not None:
        errors.append(errors[-1].__cause__ or errors[-1].__context__)
    assert PASSWORD not in caplog.text + "".join(map(repr, errors)), "neither its text nor its causes"
    keep(manager, DATABASE_URL=URL)
    clock.now += 11
    assert secrets.read() == {"DATABASE_URL": URL}


def test_once_it_is_spoilt_what_was_read_stays(manager: Any, secrets: Secrets, clock: Clock) -> None:
    keep(manager, DATABASE_URL=URL)
    first = secrets.read()
    holds(manager, "oops")
    clock.now += 301
    assert secrets.read() is first


def test_only_settings_that_are_secrets_are_taken_and_the_others_are_named_once(
    manager: Any, secrets: Secrets, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    keep(manager, DATABASE_URL=URL, LEASE_TTL_S="9999", username=PASSWORD, PATH="/nowhere")
    assert secrets.read() == {"DATABASE_URL": URL}
    clock.now += 301
    secrets.read()
    (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said.getMessage().endswith("not taken: LEASE_TTL_S, PATH, username")
    assert PASSWORD not in caplog.text


def test_a_value_may_be_an_object_or_missing(manager: Any, secrets: Secrets) -> None:
    keys = {"2026-11": "k" * 32}
    keep(manager, DATABASE_URL=URL, DEVICE_TOKEN_KEYS=keys, ADMIN_TOKEN=None)
    found: Mapping[str, str] = secrets.read()
    assert found.keys() == {"DATABASE_URL", "DEVICE_TOKEN_KEYS"}
    assert json.loads(found["DEVICE_TOKEN_KEYS"]) == keys


def test_what_was_refused_is_asked_for_at_once_and_not_again_and_again(
    manager: Any, away: Away, secrets: Secrets, clock: Clock
) -> None:
    keep(manager, DATABASE_URL=URL)
    secrets.read()
    keep(manager, DATABASE_URL=URL + "2")
    clock.now += 11
    assert secrets.read() == {"DATABASE_URL": URL}
    assert secrets.refresh() == {"DATABASE_URL": URL + "2"}
    for _ in range(5):
        secrets.refresh()
    assert away.asked == 2


def test_a_secret_of_another_region_or_without_credentials_is_unavailable(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(SecretsUnavailable):
        secrets.read()
