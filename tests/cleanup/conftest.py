"""A house with an archive, and a workshop of tools whose model thinks."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.house import House, build_house
from core.settings import Settings
from tests.agents import Workshop
from tests.archives import archive


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with archive(monkeypatch) as name:
        yield name


@pytest.fixture
def archived(settings: Settings, bucket: str, shop: Workshop) -> Iterator[House]:
    built = build_house(replace(settings, archive_bucket=bucket), shop.roster(thinking=True))
    yield built
    built.close()
