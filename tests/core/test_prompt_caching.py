"""What was sent before is read from the cache: asserted on the figures that the model gives of each reply."""

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

import pytest

from core.compaction import Window
from core.house import House, build_house
from core.settings import Settings
from dev.demo_model import DemoModel, Reply
from tests.agents import Workshop, call
from tests.conversations import answer, arrival, refusals
from tests.databases import run


@pytest.fixture
def house(settings: Settings, model: DemoModel) -> Iterator[House]:
    built = opened(settings)
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[House]:
    """Another process, that knows nothing."""
    built = opened(settings)
    yield built
    built.close()


def opened(settings: Settings) -> House:
    return build_house(settings, Workshop().roster(thinking=True))


def say(house: House, device: UUID, text: str) -> None:
    said = dataclasses.replace(arrival(device, text + " at length" * 500), body_digest=text)
    turn = answer(house, said)
    assert turn.status == "completed", turn.error


def figures(url: str) -> list[tuple[int, int]]:
    """Of each reply: the tokens that were read from the cache, and all that the model was sent."""
    kinds = ("cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens")
    sums = ", ".join(f"(usage ->> '{kind}')::int" for kind in kinds)
    rows = run(url, f"SELECT {sums} FROM messages WHERE role = 'assistant' ORDER BY seq")
    return [(read, read + written + rest) for read, written, rest in rows]


def read_again(url: str) -> list[float]:
    """Of each reply but the first: how much of what was sent for the one before was read from the cache."""
    replies = figures(url)
    return [read / before for (_, before), (read, _) in pairwise(replies)]


def test_a_resumed_conversation_is_read_from_the_cache(
    house: House, elsewhere: House, database_url: str, device: UUID
) -> None:
    for number in range(12):
        say(house, device, f"say {number}")
    answer(elsewhere, arrival(device, "and now somebody else"))
    assert min(read_again(database_url)) >= 0.99
    read, whole = figures(database_url)[-1]
    assert read >= 0.9 * whole


@pytest.mark.parametrize("kind", ["tools", "texts"])
def test_a_message_of_many_blocks_does_not_hide_what_was_cached(
    house: House, elsewhere: House, model: DemoModel, database_url: str, device: UUID, kind: str
) -> None:
    """A mark looks back about twenty blocks. These are more."""
    many = (
        call(*["peek"] * 30)
        if kind == "tools"
        else [{"type": "text", "text": f"Part {n}."} for n in range(30)]
    )
    say(house, device, "say 1")
    model.replies.add(Reply(many))
    say(house, device, "say 2")
    say(elsewhere, device, "say 3")
    say(house, device, "say 4")
    assert min(read_again(database_url)) >= 0.9


def test_no_request_has_more_than_four_marks_and_the_longest_come_first(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    model.replies.add(Reply(call(*["peek"] * 30)))
    say(house, device, "say 1")
    body = model.requests[-1].body
    marks = [
        block for message in body["messages"] for block in message["content"] if "cache_control" in block
    ]
    assert [mark["type"] for mark in marks] == ["text"], "the message that was answered by the calls"
    assert "cache_control" not in run(database_url, "SELECT string_agg(content, '') FROM messages")[0][0]


def test_after_a_compaction_the_second_turn_reads_what_the_first_one_wrote(
    house: House, elsewhere: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    for built in (house, elsewhere):
        built.turns.limits = dataclasses.replace(built.turns.limits, window=Window(messages=10))
    for number in range(6):
        say(house, device, f"say {number}")
    assert run(database_url, "SELECT upto_seq FROM compactions") == [(10,)]
    say(elsewhere, device, "from elsewhere")
    say(house, device, "and back")
    assert min(read_again(database_url)[-2:]) >= 0.9


def test_the_summary_itself_reads_what_was_cached(
    house: House, model: DemoModel, database_url: str, device: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.turns.limits = dataclasses.replace(house.turns.limits, window=Window(messages=10))
    for number in range(6):
        say(house, device, f"say {number}")
    ((read, written),) = run(
        database_url,
        "SELECT (usage ->> 'cache_read_input_tokens')::int, (usage ->> 'cache_creation_input_tokens')::int FROM compactions",
    )
    assert read >= 0.9 * (read + written)
