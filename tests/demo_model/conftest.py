from collections.abc import Iterator

import anthropic
import pytest

from dev.demo_model import DemoModel
from tests.demo_model.raw import Raw


@pytest.fixture
def model() -> Iterator[DemoModel]:
    with DemoModel() as server:
        yield server


@pytest.fixture(scope="module")
def strict_model() -> Iterator[DemoModel]:
    """One server for all the refusals: they leave nothing behind."""
    with DemoModel() as server:
        yield server


@pytest.fixture
def sdk(model: DemoModel) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="demo", base_url=model.url, max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def raw(model: DemoModel) -> Iterator[Raw]:
    with Raw(model.url) as client:
        yield client


@pytest.fixture
def strict(strict_model: DemoModel) -> Iterator[Raw]:
    with Raw(strict_model.url) as client:
        yield client
