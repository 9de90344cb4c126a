"""What Claude costs, in one table with its date. An amount is in whole micro-dollars: a dollar is 1,000,000 of them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from core.values import dataclass

# When the table was last held against platform.claude.com/docs/en/about-claude/pricing and the release notes.
AS_OF: Final = "2026-11-21"


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens: plain input, output, written to the cache for 5 minutes or an hour, read from it."""

    input: float
    output: float
    write_5m: float
    write_1h: float
    read: float


_FABLE_5_2 = Price(8, 40, 10, 16, 0.20)
_FABLE_5_1 = Price(10, 50, 12.50, 20, 0.25)
_FABLE_5 = Price(10, 50, 12.50, 20, 1)
_OPUS_5 = Price(5, 25, 6.25, 10, 0.50)
_OPUS_4 = Price(15, 75, 18.75, 30, 1.50)
_SONNET_4 = Price(3, 15, 3.75, 6, 0.30)

# By the model's ID without its date. A model that is not here has no known price, which is not the same as none.
PRICES: Final[Mapping[str, Price]] = {
    "claude-fable-5-2": _FABLE_5_2,
    # Mythos costs what the Fable of its number does.
    "claude-mythos-5-2": _FABLE_5_2,
    "claude-fable-5-1": _FABLE_5_1,
    "claude-mythos-5-1": _FABLE_5_1,
    "claude-fable-5": _FABLE_5,
    "claude-mythos-5": _FABLE_5,
    "claude-opus-5-5": Price(4, 20, 5, 8, 0.20),
    "claude-opus-5": _OPUS_5,
    "claude-opus-4-8": _OPUS_5,
    "claude-opus-4-7": _OPUS_5,
    "claude-opus-4-6": _OPUS_5,
    "claude-opus-4-5": _OPUS_5,
    "claude-opus-4-1": _OPUS_4,
    "claude-opus-4-0": _OPUS_4,
    "claude-opus-4": _OPUS_4,
    "claude-sonnet-5-5": Price(2, 10, 2.50, 4, 0.10),
    "claude-sonnet-5": Price(2, 10, 2.50, 4, 0.20),
    "claude-sonnet-4-6": _SONNET_4,
    "claude-sonnet-4-5": _SONNET_4,
    "claude-sonnet-4-0": _SONNET_4,
    "claude-sonnet-4": _SONNET_4,
    "claude-haiku-5-5": Price(0.10, 0.50, 0.125, 0.20, 0.01),
    "claude-haiku-4-5": Price(1, 5, 1.25, 2, 0.10),
    "claude-3-5-haiku": Price(0.80, 4, 1, 1.60, 0.08),
}

# A request whose prompt, cached or not, is longer than this many tokens costs this instead, its output included.
LONG_PROMPTS: Final[Mapping[str, tuple[int, Price]]] = {
    "claude-haiku-5-5": (100_000, Price(0.50, 2.50, 0.625, 1.00, 0.05)),
}

_WEB_SEARCH_MICROS = 10_000
_DATE = re.compile(r"-(\d{8}|latest)$")
# Prices have at most three decimals, so these are whole: a thousandth of a micro-dollar a token.
_NANOS = 1_000


def price_of(model: str, prompt_tokens: int = 0) -> Price | None:
    """None: no price is known."""
    family = _DATE.sub("", model)
    longest, long_price = LONG_PROMPTS.get(family, (None, None))
    if longest is not None and prompt_tokens > longest:
        return long_price
    return PRICES.get(family)


def cost_micros(model: str, usage: Mapping[str, Any]) -> int | None:
    """What one request cost, by the usage that the API gives, rounded up. None: no price is known.

    Of one request alone: sums of several are rounded otherwise, and may look like one long prompt.
    """
    read = usage.get("cache_read_input_tokens") or 0
    written_5m, written_1h = _written(usage)
    plain = usage.get("input_tokens") or 0
    price = price_of(model, plain + read + written_5m + written_1h)
    if price is None or usage.get("speed") == "fast":
        # Fast inference has a price of its own. Nothing here asks for it.
        return None
    nanos = (
        plain * _nanos(price.input)
        + (usage.get("output_tokens") or 0) * _nanos(price.output)
        + written_5m * _nanos(price.write_5m)
        + written_1h * _nanos(price.write_1h)
        + read * _nanos(price.read)
    )
    if usage.get("inference_geo") == "us":
        # A workspace that keeps its inference in one country pays a tenth more for each token.
        nanos += -(-nanos // 10)
    searches = (usage.get("server_tool_use") or {}).get("web_search_requests") or 0
    return -(-nanos // _NANOS) + searches * _WEB_SEARCH_MICROS


def _written(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens written for 5 minutes and for an hour. Where the API does not say for how long, it was the dearer."""
    total = usage.get("cache_creation_input_tokens") or 0
    parts = usage.get("cache_creation") or {}
    written_5m = parts.get("ephemeral_5m_input_tokens") or 0
    written_1h = parts.get("ephemeral_1h_input_tokens") or 0
    return written_5m, written_1h + max(0, total - written_5m - written_1h)


def _nanos(dollars_per_million: float) -> int:
    return round(dollars_per_million * _NANOS)
