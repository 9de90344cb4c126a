from collections.abc import Callable, Iterator

import pytest
from starlette.testclient import TestClient

from core.house import House
from functions.app import build_app
from tests.door import people
from tests.door.people import Person


@pytest.fixture
def door(house: House) -> Iterator[TestClient]:
    """Without a device of its own."""
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        yield client


@pytest.fixture
def person(door: TestClient, database_url: str) -> Callable[[], Person]:
    return lambda: people.person(door, database_url)


@pytest.fixture
def ada(person: Callable[[], Person]) -> Person:
    return person()


@pytest.fixture
def bob(person: Callable[[], Person]) -> Person:
    return person()
