"""What an answer cost, held against sums made by hand."""

from typing import Any, get_args

import pytest
from anthropic.types import Model

from core.model.bill import Bill, added, counted
from core.model.prices import PRICES, cost_micros

# Whose price was never public, or is not on the page any more.
UNPRICED = {"claude-mythos-preview"}


@pytest.mark.parametrize(
    ("model", "usage", "micros"),
    [
        # 1,000 x $2 + 100 x $10 a million.
        ("claude-sonnet-5-5", {"input_tokens": 1_000, "output_tokens": 100}, 3_000),
        # 1 x 0.10 of a micro-dollar, rounded up.
        ("claude-sonnet-5-5", {"cache_read_input_tokens": 1}, 1),
        ("claude-sonnet-5-5", {}, 0),
        # 10 x 2 + 20 x 10 + 1,000 x 2.50 + 2,000 x 4 + 3,001 x 0.10
        (
            "claude-sonnet-5-5",
            {
                "input_tokens": 10,
                "output_tokens": 20,
                "cache_creation_input_tokens": 3_000,
                "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
                "cache_read_input_tokens": 3_001,
            },
            11_021,
        ),
        # It does not say for how long: the dearer. 1,000 x 4
        ("claude-sonnet-5-5", {"cache_creation_input_tokens": 1_000}, 4_000),
        # 200 x 5 + 40 x 25 + 1,000 x 0.50, and the date does not matter.
        (
            "claude-opus-4-5-20251101",
            {"input_tokens": 200, "output_tokens": 40, "cache_read_input_tokens": 1_000},
            2_500,
        ),
        ("claude-haiku-4-5-20251001", {"input_tokens": 3, "output_tokens": 2}, 13),
        ("claude-fable-5-2", {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, 48_000_000),
        # 99,999 x 0.10 + 1 x 0.01 + 1,000 x 0.50: the whole prompt counts, and it is just not long.
        (
            "claude-haiku-5-5",
            {"input_tokens": 99_999, "cache_read_input_tokens": 1, "output_tokens": 1_000},
            10_500,
        ),
        # One token more: 100,000 x 0.50 + 1 x 0.05 + 1,000 x 2.50
        (
            "claude-haiku-5-5",
            {"input_tokens": 100_000, "cache_read_input_tokens": 1, "output_tokens": 1_000},
            52_501,
        ),
        # A tenth more for each token, and not for a search.
        ("claude-sonnet-5-5", {"input_tokens": 1_000, "inference_geo": "us"}, 2_200),
        (
            "claude-sonnet-5-5",
            {"input_tokens": 1_000, "server_tool_use": {"web_search_requests": 2}},
            22_000,
        ),
        (
            "claude-sonnet-5-5",
            {"input_tokens": 1_000, "cache_creation": None, "server_tool_use": None},
            2_000,
        ),
    ],
)
def test_an_answer_costs_what_a_sum_by_hand_says(model: str, usage: dict[str, Any], micros: int) -> None:
    assert cost_micros(model, usage) == micros


@pytest.mark.parametrize(
    "model", ["claude-test", "claude-sonnet-5-6", "claude-sonnet-5-5-2026", "", *UNPRICED]
)
def test_a_model_that_is_not_in_the_table_has_no_known_price(model: str) -> None:
    assert cost_micros(model, {"input_tokens": 1}) is None


def test_fast_inference_has_no_known_price() -> None:
    assert cost_micros("claude-opus-5-5", {"input_tokens": 1, "speed": "fast"}) is None


def test_every_model_that_the_sdk_names_has_a_price() -> None:
    named = {name for option in get_args(Model) for name in get_args(option)}
    assert len(named) > 10
    assert {name for name in named if cost_micros(name, {}) is None} == UNPRICED


def test_the_table_is_plausible() -> None:
    for model, price in PRICES.items():
        assert price.output == pytest.approx(5 * price.input), model
        assert price.write_5m == pytest.approx(1.25 * price.input), model
        assert price.write_1h == pytest.approx(2 * price.input), model
        assert 0.02 * price.input < price.read <= 0.1 * price.input, model


def test_each_try_is_priced_by_itself() -> None:
    """Two prompts of 60,000 tokens are not one long prompt."""
    bill = Bill("claude-haiku-5-5")
    bill.begin({"input_tokens": 60_000, "output_tokens": 1})
    bill.begin({"input_tokens": 60_000, "output_tokens": 1})
    bill.go_on({"input_tokens": None, "output_tokens": 100})
    assert bill.spent == {
        "input_tokens": 120_000,
        "output_tokens": 101,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        # 60,000 x 0.10 + 1 x 0.50, rounded up, and 60,000 x 0.10 + 100 x 0.50
        "cost_micros": 6_001 + 6_050,
    }


def test_nothing_costs_nothing() -> None:
    assert counted({})["cost_micros"] == 0
    assert Bill("claude-test").spent["cost_micros"] == 0


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    known, unknown = {"input_tokens": 1, "cost_micros": 2}, {"input_tokens": 3}
    assert added(known, known)["cost_micros"] == 4
    assert added({}, known)["cost_micros"] == 2
    assert added(known, unknown) == {**counted({"input_tokens": 4})}
    assert "cost_micros" not in added(unknown, known)
