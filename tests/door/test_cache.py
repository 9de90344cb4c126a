"""What the door changes is not shown as it was from the cache: two functions that share a Redis."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from core.house import build_house
from core.settings import Secret, Settings
from dev.redis import RedisFront
from functions.app import build_app
from tests.door import people
from tests.door.people import Person, code


@pytest.fixture
def doors(settings: Settings, front: RedisFront) -> Iterator[tuple[TestClient, TestClient]]:
    cached = replace(
        settings,
        upstash_redis_rest_url=front.url,
        upstash_redis_rest_token=Secret(front.token),
        cache_budget_ms=2_000,
    )
    houses = [build_house(cached) for _ in range(2)]
    first, second = (TestClient(build_app(house, one_at_a_time=False)) for house in houses)
    yield first, second
    for house in houses:
        house.close()


@pytest.fixture
def ada(doors: tuple[TestClient, TestClient], database_url: str) -> Person:
    return people.person(doors[0], database_url)


@pytest.fixture
def elsewhere(doors: tuple[TestClient, TestClient]) -> Callable[[Person], Person]:
    """The same person, whose requests come to another function."""
    return lambda person: replace(person, client=doors[1])


def seen(person: Person) -> dict[str, object]:
    shown: dict[str, object] = person.ask("GET", "/v1/session").json()
    return shown


def test_the_first_turn_in_a_conversation_that_was_begun_by_itself_is_seen_past_the_cache(
    ada: Person, elsewhere: Callable[[Person], Person]
) -> None:
    for one in (ada, elsewhere(ada)):
        assert seen(one)["state"]["sequence"] == 0  # type: ignore[index]  # JSON
    ada.says("Hello")
    for one in (elsewhere(ada), ada):
        assert seen(one)["state"]["sequence"] == 2  # type: ignore[index]  # JSON


def test_whoever_left_is_not_shown_what_they_left(ada: Person, elsewhere: Callable[[Person], Person]) -> None:
    first = seen(elsewhere(ada))["id"]
    second = ada.begin()
    assert seen(elsewhere(ada))["id"] == second == seen(ada)["id"]
    ada.ask("PUT", "/v1/session", {"session_id": first})
    assert seen(elsewhere(ada))["id"] == first == seen(ada)["id"]


def test_an_edit_is_seen_at_once_wherever_one_looks(
    ada: Person, elsewhere: Callable[[Person], Person]
) -> None:
    seen(elsewhere(ada))
    ada.ask("PATCH", "/v1/session", {"metadata": {"n": 1}})
    assert seen(elsewhere(ada))["metadata"] == {"n": 1}


def test_whoever_was_put_out_is_shown_nothing_from_the_cache(
    ada: Person,
    elsewhere: Callable[[Person], Person],
    doors: tuple[TestClient, TestClient],
    database_url: str,
) -> None:
    bob, shared = people.person(doors[0], database_url), str(ada.current)
    ada.let_in(bob, shared, "viewer")
    bob.ask("PUT", "/v1/session", {"session_id": shared})
    assert seen(elsewhere(bob))["id"] == shared
    ada.ask("DELETE", f"/v1/sessions/{shared}/members/{bob.user_id}")
    assert code(elsewhere(bob).ask("GET", "/v1/session")) == (404, "session_not_found")
