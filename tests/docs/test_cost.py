"""The costs that the page shows are those that the arithmetic gives."""

import pytest

from bench import cost
from core.model.prices import PRICES
from tests.docs.pages import page

COST = page("cost.md")


@pytest.mark.parametrize("table", cost.tables(), ids=lambda table: table[0])
def test_a_table_of_the_page_is_what_the_arithmetic_prints(table: list[str]) -> None:
    assert "\n".join(table) in COST, "run: python -m bench.cost"


def test_the_page_names_the_prices_that_it_reckons_with() -> None:
    price = PRICES[cost.MODEL]
    for dollars in (
        f"${price.input:g} for a million",
        f"${price.output:g} out",
        f"${price.write_5m:.2f} written",
        f"${price.read:.2f} read",
    ):
        assert dollars in " ".join(COST.split())
