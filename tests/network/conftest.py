"""psycopg2 as it comes: the product's way of waiting, which counts for the whole process, is another test's."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import get_wait_callback, set_wait_callback


@pytest.fixture(autouse=True)
def plain_waiting() -> Iterator[None]:
    usual = get_wait_callback()
    set_wait_callback(None)
    yield
    set_wait_callback(usual)
