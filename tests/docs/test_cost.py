"""The costs that the page shows are those that the arithmetic gives."""

import pytest

from bench import cost
from core.model.prices import PRICES
from functions.metrics import METRICS
from tests.docs.pages import ROOT, page

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


def test_what_stands_is_counted_as_it_is() -> None:
    assert len(METRICS) == 25, "as bench/cost.py reckons"
    assert (ROOT / "stack" / "alarms.yml").read_text().count("AWS::CloudWatch::Alarm") == cost.ALARMS


def test_what_a_stage_costs_is_said_alike_where_it_is_made() -> None:
    costs = cost.idle()
    alarms = costs["alarms"] + costs["dashboard"]
    for dollars in (
        f"${costs['metrics']:.2f}",
        f"${alarms:.2f}",
        f"About ${sum(costs.values()):.0f} a month",
    ):
        assert dollars in page("deploy.md")
