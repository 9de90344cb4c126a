from collections.abc import Iterator

import pytest

from tests.lines.on_lambda import Log, on_lambda


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with on_lambda(monkeypatch) as written:
        yield written
