"""The figures of a simulated prompt cache, seen from outside."""

from collections.abc import Iterator
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault
from tests.demo_model.raw import TOOL, Raw, ask, text, user

Json = dict[str, Any]

MARK = {"type": "ephemeral"}
LONG_MARK = {"type": "ephemeral", "ttl": "1h"}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def model(clock: Clock) -> Iterator[DemoModel]:
    with DemoModel(clock=clock) as server:
        yield server


def block(letter: str, tokens: int, mark: Json | None = None) -> Json:
    return text(letter * (tokens * 4), **({"cache_control": mark} if mark else {}))


def figures(raw: Raw, body: Json) -> tuple[int, int, int]:
    """Read, written, and the rest."""
    usage = raw.send(body).body["usage"]
    written = usage["cache_creation"]
    assert sum(written.values()) == usage["cache_creation_input_tokens"]
    return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["input_tokens"]


def test_the_second_request_reads_what_the_first_one_wrote(raw: Raw) -> None:
    first = ask(user(block("a", 10)), system=[block("s", 2000, MARK)])
    assert figures(raw, first) == (0, 2000, 10)
    assert figures(raw, first) == (2000, 0, 10)


def test_automatic_caching_follows_the_conversation(raw: Raw) -> None:
    system = "s" * 8000
    assert figures(raw, ask("Hi!!", system=system, cache_control=MARK)) == (0, 2001, 0)
    assert figures(raw, ask("Hi!!", "Yes?", "Go!!", system=system, cache_control=MARK)) == (2001, 2, 0)
    assert figures(raw, ask("Hi!!", "Yes?", "Go!!", system=system)) == (0, 0, 2003)


def test_a_marker_that_moves_does_not_change_the_prefix(raw: Raw) -> None:
    assert figures(raw, ask(user(block("a", 2000, MARK)))) == (0, 2000, 0)
    assert figures(raw, ask(user(block("a", 2000), block("b", 8, MARK)))) == (2000, 8, 0)


def test_the_two_lives_are_counted_apart(raw: Raw) -> None:
    body = ask(user(block("a", 50, MARK)), system=[block("s", 2000, LONG_MARK)])
    usage = raw.send(body).body["usage"]
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 2000}


def test_below_the_minimum_nothing_is_cached_and_nothing_said(raw: Raw) -> None:
    short = ask(system=[block("s", 1023, MARK)])
    assert figures(raw, short)[:2] == figures(raw, short)[:2] == (0, 0)
    exact = ask(system=[block("s", 1024, MARK)])
    assert figures(raw, exact)[1] == 1024


def test_an_entry_ends_after_five_minutes_unless_it_is_read(raw: Raw, clock: Clock) -> None:
    body = ask(user(block("a", 2000, MARK)))
    assert figures(raw, body) == (0, 2000, 0)
    clock.now_s += 299
    assert figures(raw, body) == (2000, 0, 0)
    clock.now_s += 299
    assert figures(raw, body) == (2000, 0, 0)
    clock.now_s += 300
    assert figures(raw, body) == (0, 2000, 0)


def test_reading_an_entry_from_a_later_breakpoint_refreshes_it(raw: Raw, clock: Clock) -> None:
    figures(raw, ask(user(block("a", 2000, MARK))))
    clock.now_s += 299
    assert figures(raw, ask(user(block("a", 2000), block("b", 1, MARK)))) == (2000, 1, 0)
    clock.now_s += 299
    assert figures(raw, ask(user(block("a", 2000), block("c", 1, MARK)))) == (2000, 1, 0)


def test_the_same_words_from_another_mouth_are_another_prefix(raw: Raw) -> None:
    words = block("a", 2000)
    figures(raw, ask(user(words, words, block("b", 1, MARK))))
    body = ask(user(words), {"role": "assistant", "content": [words]}, user(block("b", 1, MARK)))
    assert figures(raw, body)[0] == 0


def test_an_hour_s_entry_outlives_the_five_minutes(raw: Raw, clock: Clock) -> None:
    body = ask(user(block("a", 5, MARK)), system=[block("s", 2000, LONG_MARK)])
    assert figures(raw, body) == (0, 2005, 0)
    clock.now_s += 301
    assert figures(raw, body) == (2000, 5, 0)
    clock.now_s += 3600
    assert figures(raw, body) == (0, 2005, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "claude-other"},
        {"system": [block("t", 1500)]},
        {"tools": [{**TOOL, "description": "Other."}]},
    ],
    ids=["model", "system", "tools"],
)
def test_another_prefix_reads_nothing(raw: Raw, change: Json) -> None:
    body = ask(user(block("a", 2000, MARK)), system=[block("s", 1500)], tools=[TOOL])
    figures(raw, body)
    assert figures(raw, {**body, **change})[0] == 0
    assert figures(raw, body)[0] > 3000


@pytest.mark.parametrize(("between", "read"), [(19, 2000), (20, 0)])
def test_a_breakpoint_looks_at_twenty_blocks_and_no_further(raw: Raw, between: int, read: int) -> None:
    figures(raw, ask(user(block("a", 2000, MARK))))
    more = [block("b", 1) for _ in range(between - 1)]
    assert figures(raw, ask(user(block("a", 2000), *more, block("c", 1, MARK))))[0] == read


def test_a_refused_or_failed_request_caches_nothing(model: DemoModel, raw: Raw) -> None:
    body = ask(user(block("a", 2000, MARK)))
    model.faults.add(Fault.status(529))
    assert raw.send(body).status == 529
    assert raw.send({**body, "max_tokens": 0}).status == 400
    assert figures(raw, body) == (0, 2000, 0)


def test_a_stream_tells_the_same_figures_at_its_start_and_end(raw: Raw) -> None:
    body = ask(user(block("a", 2000, MARK)), stream=True)
    events = raw.send(body).events
    start, end = events[0]["message"]["usage"], events[-2]["usage"]
    assert start["cache_creation_input_tokens"] == end["cache_creation_input_tokens"] == 2000
    assert (start["input_tokens"], end["input_tokens"]) == (0, 0)
    assert end["output_tokens"] > start["output_tokens"]


def test_a_thousand_messages_are_hashed_once_a_block(raw: Raw) -> None:
    said = ["word " * 20] * 1001
    assert figures(raw, ask(*said, cache_control=MARK)) == (0, 1001 * 25, 0)
    assert figures(raw, ask(*said, "Yes.", "Go..", cache_control=MARK)) == (1001 * 25, 2, 0)
