"""What is told of a turn, put together, is what is stored: however it grew, wherever its reader was cut off, whatever was taken back."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import LastEventIdMalformed
from core.ids import SessionId, TurnId
from core.position import Position
from core.store.following import FollowedCall
from core.telling import Event, Message, Standing, tell
from tests.streams.phone import Told

TURN, SESSION = TurnId(UUID(int=7)), SessionId(UUID(int=8))
_texts = st.text(max_size=12) | st.text(st.sampled_from("ab🙂"), max_size=30)
_agents = st.sampled_from(["manager", "billing"])
_ends = st.sampled_from(["done", "failed", "unknown", "denied", "dropped"])


@st.composite
def _said(draw: st.DrawFn) -> tuple[str, list[str], list[str]]:
    """One message: who says it, its text blocks, and how each of its calls ends."""
    return draw(_agents), draw(st.lists(_texts, max_size=3)), draw(st.lists(_ends, max_size=3))


def _blocks(texts: list[str]) -> tuple[tuple[int, str], ...]:
    """Every other block is no text."""
    return tuple((2 * place, text) for place, text in enumerate(texts))


def _cut(blocks: tuple[tuple[int, str], ...], length: int) -> tuple[tuple[int, str], ...]:
    kept = []
    for place, text in blocks:
        kept.append((place, text[:length]))
        length = max(0, length - len(text))
    return tuple(kept)


@st.composite
def _growth(draw: st.DrawFn) -> list[Standing]:
    """A turn at moment after moment, up to its end."""
    begun = Standing(TURN, SESSION, 1, "running", True, False, 1, ())
    moments = [replace(begun, has_begun=False, last_seq=0, status="queued"), begun]
    stored: tuple[Message, ...] = ()
    seq = 2
    for agent, texts, ends in draw(st.lists(_said(), max_size=4)):
        message = Message(seq, agent, _blocks(texts), is_stored=True)
        for other, said in draw(st.lists(st.tuples(_agents, st.lists(_texts, max_size=3)), max_size=3)):
            # A try that comes to nothing: its holder dies, or the model is asked again.
            moments += _while_said(draw, begun, stored, Message(seq, other, _blocks(said), is_stored=False))
        if draw(st.integers(0, 5)) == 0:
            # What was being said is dropped, and something that a person said has its number.
            seq += 1
            moments.append(replace(begun, messages=stored, last_seq=seq - 1))
            message = replace(message, seq=seq)
        moments += _while_said(draw, begun, stored, replace(message, is_stored=False))
        for stage in range(3):
            calls = tuple(
                FollowedCall(f"{seq}.{n}", seq, "tool", "read", _status(stage, end, n))
                for n, end in enumerate(ends)
            )
            whole = (*stored, replace(message, calls=calls))
            status = "waiting" if stage == 0 and ends and draw(st.booleans()) else "running"
            moments.append(replace(begun, messages=whole, last_seq=seq, status=status))
        stored = whole
        seq += 2
    left = draw(st.none() | st.lists(_texts, min_size=1, max_size=2))
    if left is not None:
        moments += _while_said(draw, begun, stored, Message(seq, "manager", _blocks(left), is_stored=False))
    last = stored[-1].seq if stored else 1
    ended = replace(begun, messages=stored, last_seq=last, status="completed", has_ended=True)
    return [*moments, ended]


def _while_said(
    draw: st.DrawFn, begun: Standing, stored: tuple[Message, ...], message: Message
) -> list[Standing]:
    """It grows, and is now and then not to be had, or as it was before."""
    lengths = draw(st.lists(st.none() | st.integers(0, len(message.text)), max_size=5))
    last = stored[-1].seq + 1 if stored else 1
    last = max(last, message.seq - 1)
    return [
        replace(
            begun,
            last_seq=last,
            messages=stored if n is None else (*stored, replace(message, blocks=_cut(message.blocks, n))),
        )
        for n in lengths
    ]


def _status(stage: int, end: str, number: int) -> str:
    if stage == 2:
        return end
    return "asked" if end == "denied" or (stage == 0 and number == 1) else "started"


def _from(position: Position, moment: Standing, limit: int) -> Standing:
    """As it is read: from the message that is being told on, and no more than so many."""
    later = [m for m in moment.messages if m.seq >= position.seq]
    kept = [m for m in later if m.is_stored][:limit]
    is_cut = len(kept) < len([m for m in later if m.is_stored])
    return replace(moment, messages=tuple(kept if is_cut else later), is_cut=is_cut)


def _hear(told: Told, event: Event) -> None:
    about = event.about if isinstance(event.about, dict) else {"turn": {}}
    told.hear(event.name, about)


@settings(max_examples=80, deadline=None, database=None)
@given(_growth(), st.data())
def test_whatever_was_told_put_together_is_what_is_stored(
    growth: list[Standing], data: st.DataObject
) -> None:
    told, position = Told(), Position.before(TURN)
    for moment in _looked_at(growth, data):
        events, after = tell(position, _from(position, moment, data.draw(st.integers(1, 3))))
        heard = data.draw(st.integers(0, len(events)))
        for event in events[:heard]:
            _hear(told, event)
            assert Position.read(str(event.position)) == event.position
        cut = heard < len(events)
        position = (events[heard - 1].position if heard else position) if cut else after
    while not position.has_ended:
        events, position = tell(position, _from(position, growth[-1], 2))
        for event in events:
            _hear(told, event)
    stored = {
        m.seq: texts for m in growth[-1].messages if (texts := {n: text for n, text in m.blocks if text})
    }
    assert told.texts == stored
    ended = {call.id for m in growth[-1].messages for call in m.calls}
    assert {id_ for id_, names in told.tools.items() if "tool_ended" in names} == ended
    assert told.names[0] in ("turn_started",)
    assert tell(position, growth[-1])[0] == [], "after the end there is nothing"


def _looked_at(growth: list[Standing], data: st.DataObject) -> Iterator[Standing]:
    for moment in growth:
        if data.draw(st.booleans()):
            yield moment


@settings(max_examples=50, deadline=None, database=None)
@given(_growth())
def test_two_readers_at_the_same_place_are_told_the_same(growth: list[Standing]) -> None:
    position = Position.before(TURN)
    for moment in growth:
        events, after = tell(position, moment)
        assert tell(Position.read(str(position)), moment) == (events, after)
        position = after


def test_a_reader_who_was_told_what_came_to_nothing_is_told_to_discard_it() -> None:
    begun = Standing(TURN, SESSION, 1, "running", True, False, 1, ())
    half = replace(begun, messages=(Message(2, "manager", ((0, "Half a re"),), is_stored=False),))
    _, position = tell(Position.before(TURN), half)
    nothing, position = tell(position, begun)
    assert nothing == [], "the next try may say the same"
    shorter = replace(begun, messages=(Message(2, "manager", ((0, "Other"),), is_stored=False),))
    assert tell(position, shorter)[0] == [], "it may be an older partial"
    stored = replace(begun, last_seq=2, messages=(Message(2, "manager", ((0, "Other"),), is_stored=True),))
    assert [e.name for e in tell(position, stored)[0]] == ["text_discarded", "text_delta"]
    longer = replace(
        begun, messages=(Message(2, "manager", ((0, "Half of something else"),), is_stored=False),)
    )
    assert [e.name for e in tell(position, longer)[0]] == ["text_discarded", "text_delta"]
    goes_on = replace(begun, messages=(Message(2, "manager", ((0, "Half a reply"),), is_stored=False),))
    (event,) = tell(position, goes_on)[0]
    assert event.about == {"message_seq": 2, "block": 0, "text": "ply"}
    cancelled = replace(begun, status="cancelled", has_ended=True)
    assert [e.name for e in tell(position, cancelled)[0]] == ["text_discarded", "turn_ended"]


def test_text_of_another_agent_is_not_gone_on_with_though_it_begins_alike() -> None:
    begun = Standing(TURN, SESSION, 1, "running", True, False, 1, ())
    one = replace(begun, messages=(Message(2, "manager", ((0, "Hello"),), is_stored=False),))
    _, position = tell(Position.before(TURN), one)
    other = replace(begun, last_seq=2, messages=(Message(2, "billing", ((0, "Hello"),), is_stored=True),))
    events, _ = tell(position, other)
    assert [e.name for e in events] == ["text_discarded", "agent_changed", "text_delta"]


def test_a_long_text_is_told_in_pieces() -> None:
    whole = Message(2, "manager", ((0, "x" * 20_000), (1, "y" * 9_000)), is_stored=True)
    events, _ = tell(Position.before(TURN), Standing(TURN, SESSION, 1, "running", True, False, 2, (whole,)))
    told = [e.about for e in events if e.name == "text_delta" and isinstance(e.about, dict)]
    assert max(len(about["text"]) for about in told) <= 8_000
    assert "".join(about["text"] for about in told) == whole.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0-00000007-0-0---s-",
        "1-00000007-0-0---x-",
        "1-00000007-1-5---s-",
        "1-00000007-1-0-0123456789ab--s-",
        "1-0000000g-0-0---s-",
        "1-00000007--0---s-",
        "1-00000007-0-0---s-a b",
        "1-00000007-0-0---sse-",
        "1-00000007-٣-0---s-",
        "1-00000007-" + "9" * 16 + "-0---s-",
        "1" * 2000,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(LastEventIdMalformed):
        Position.read(text)


def test_an_end_that_no_position_can_have_tells_nothing_of_others() -> None:
    made_up = replace(Position.before(TURN), seq=10**14, told=5, digest="0" * 12)
    standing = Standing(TURN, SESSION, 1, "running", True, False, 2, ())
    assert [e.name for e in tell(made_up, standing)[0]] == ["turn_started"]
