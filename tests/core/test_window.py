"""Where a conversation is cut: a random walk over histories, each folded as the product does it, and sent to a model that
refuses whatever is not whole.
"""

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from core.compaction import Window
from core.content import Block, Blocks, Compaction, Message, dump
from core.conversation import PAUSES, Conversation, tokens_of
from core.deadline import Deadline
from core.model.claude import Claude
from core.model.prompt import Prompt
from core.settings import Secret
from dev.demo_model import DemoModel

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {"name": "peek", "description": "Peeks.", "input_schema": {"type": "object", "properties": {}}}
WINDOW = Window(tokens=2_000, messages=12, size=20_000)


def text(said: str) -> Block:
    return {"type": "text", "text": said}


def image(data: str = PIXEL) -> Block:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


TURNS = st.tuples(
    # What is said: how many messages joined, how long, whether an image is with it.
    st.integers(1, 3),
    st.integers(1, 900),
    st.booleans(),
    # How many calls each round has, and how many words a result; whether the model pauses; whether it answers.
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 900)), max_size=4),
    st.booleans(),
    st.sampled_from(["answers", "answers", "fails"]),
)


class History:
    """As turns leave it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.firsts: list[int] = []

    def add(self, role: str, content: Blocks, stop_reason: str = "") -> None:
        self.messages.append(Message(len(self.messages) + 1, role, content, stop_reason=stop_reason))

    def turn(
        self, joined: int, long: int, shows: bool, rounds: list[tuple[int, int]], pauses: bool, ends: str
    ) -> None:
        self.firsts.append(len(self.messages) + 1)
        for number in range(joined):
            self.add("user", [text(f"Say {number} {'x' * long}"), *([image()] if shows else [])])
        for calls, size in rounds:
            ids = [f"toolu_{len(self.messages)}_{n}" for n in range(calls)]
            self.add(
                "assistant",
                [{"type": "tool_use", "id": i, "name": "peek", "input": {}} for i in ids],
                "tool_use",
            )
            shown: Any = [text("y" * size), image()] if shows else "y" * size
            self.add("user", [{"type": "tool_result", "tool_use_id": i, "content": shown} for i in ids])
        if pauses:
            search = {
                "type": "server_tool_use",
                "id": f"srvtoolu_{len(self.messages)}",
                "name": "web_search",
                "input": {},
            }
            self.add("assistant", [search], "pause_turn")
            self.add("assistant", [text("Found.")], "end_turn")
        elif ends == "answers":
            self.add("assistant", [text("Well.")], "end_turn")


@pytest.fixture(scope="module")
def strict() -> Iterator[DemoModel]:
    with DemoModel() as server:
        yield server


@pytest.fixture(scope="module")
def claude(strict: DemoModel) -> Iterator[Claude]:
    adapter = Claude(Secret("demo"), strict.url)
    yield adapter
    adapter.close()


def send(claude: Claude, conversation: Conversation) -> None:
    prompt = Prompt(
        model="claude-test",
        system="S",
        max_tokens=500,
        thinking=False,
        conversation=conversation,
        tools=(TOOL,),
    )
    claude.ask(prompt, Deadline.after(20)).result(20)


def pairs(messages: list[Message]) -> list[tuple[int, int]]:
    """Messages that belong together: calls and their results, a pause and what went on from it."""
    found = []
    for one, other in pairwise(messages):
        if one.tool_calls or one.stop_reason in PAUSES:
            found.append((one.seq, other.seq))
    return found


@hypothesis.settings(max_examples=120, deadline=None, database=None)
@hypothesis.given(turns=st.lists(TURNS, min_size=1, max_size=14))
def test_no_pair_is_torn_and_everything_is_accepted_however_the_history_came_about(
    turns: list[Any], claude: Claude, strict: DemoModel
) -> None:
    history = History()
    conversation = Conversation()
    compactions = 0
    for turn in turns:
        known = len(history.messages)
        history.turn(*turn)
        conversation.add(*history.messages[known:])
        if conversation.last.role != "user":
            continue
        while WINDOW.is_over(conversation):
            cut = WINDOW.cut(conversation, history.firsts[-1])
            if cut is None:
                break
            folded, kept = conversation.messages[: cut.place], conversation.messages[cut.place :]
            assert folded
            assert kept, "the last message is always told as it is"
            upto = folded[-1].seq
            assert all((one <= upto) == (other <= upto) for one, other in pairs(history.messages))
            if strict.requests.total % 5 == 0:
                asked = conversation.until(cut.place)
                asked.add(Message(upto + 1, "user", [text("Sum up.")]))
                send(claude, asked)
            compactions += 1
            conversation = conversation.since(
                cut.place, Compaction(upto, dump([text(f"Summary {compactions}.")]))
            )
            told = [m.seq for m in conversation.messages]
            assert told == list(range(upto + 1, len(history.messages) + 1)), "nothing else is missing"
            if cut.is_last:
                break
        send(claude, conversation)
    assert [r.refusal for r in strict.requests if r.refusal] == []


@hypothesis.settings(max_examples=100, deadline=None, database=None)
@hypothesis.given(turns=st.lists(TURNS, min_size=8, max_size=25))
def test_a_history_that_was_never_compacted_is_folded_in_pieces_that_fit(turns: list[Any]) -> None:
    history = History()
    for turn in turns:
        history.turn(*turn)
    history.turn(1, 10, False, [], False, "fails")
    conversation, first = Conversation(history.messages), history.firsts[-1]
    largest = max(pair_tokens(history.messages))
    for _ in range(len(history.messages)):
        cut = WINDOW.cut(conversation, first) if WINDOW.is_over(conversation) else None
        if cut is None:
            break
        piece = conversation.until(cut.place)
        assert piece.tokens <= WINDOW.tokens + largest, "one that is larger by itself is folded by itself"
        conversation = conversation.since(cut.place, Compaction(piece.last.seq, dump([text("Summary.")])))
    assert not WINDOW.is_over(conversation) or WINDOW.cut(conversation, first) is None
    assert conversation.last.seq == len(history.messages)
    assert conversation.messages[0].seq <= first, "the turn that is to go on is told whole"


def pair_tokens(messages: list[Message]) -> Iterator[int]:
    for one, other in pairwise(messages):
        yield tokens_of(one) + tokens_of(other)


def test_a_turn_that_is_most_of_the_window_is_cut_inside() -> None:
    history = History()
    history.turn(1, 10, False, [(1, 10)] * 10, False, "fails")
    conversation = Conversation(history.messages)
    cut = Window(messages=12).cut(conversation, 1)
    assert cut is not None
    assert 1 < conversation.messages[cut.place].seq < len(conversation)
    assert conversation.messages[cut.place].role == "assistant"


def test_a_turn_that_is_small_is_never_cut_inside() -> None:
    history = History()
    for _ in range(5):
        history.turn(1, 10, False, [], False, "answers")
    history.turn(1, 10, False, [(1, 10)] * 2, False, "fails")
    cut = Window(messages=12).cut(Conversation(history.messages), history.firsts[-1])
    assert cut is not None
    assert history.messages[cut.place].seq == history.firsts[-1]


@pytest.mark.parametrize(
    "window",
    [Window(messages=9), Window(tokens=900), Window(size=3_000)],
    ids=["messages", "tokens", "bytes"],
)
def test_each_measure_by_itself_fills_the_window(window: Window) -> None:
    history = History()
    for _ in range(5):
        history.turn(1, 600, False, [], False, "answers")
    assert window.is_over(Conversation(history.messages))
    assert not Window().is_over(Conversation(history.messages))


@pytest.mark.parametrize("most", range(5, 30))
def test_what_paused_is_not_cut_from_what_goes_on(most: int) -> None:
    history = History()
    history.turn(1, 10, False, [], False, "answers")
    history.turn(1, 10, False, [], False, "fails")
    for number in range(10):
        search = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search", "input": {}}
        history.add("assistant", [search], "pause_turn")
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "peek", "input": {}}
        history.add("assistant", [call], "tool_use")
        history.add("user", [{"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "yes"}])
    cut = Window(messages=most).cut(Conversation(history.messages), history.firsts[-1])
    assert cut is not None
    assert history.messages[cut.place - 1].stop_reason not in PAUSES


def test_an_image_counts_what_the_model_sees_and_not_its_bytes() -> None:
    large = Message(1, "user", [image("A" * 3_000_000)])
    assert 1_600 <= tokens_of(large) < 2_000
    shown = Message(
        1, "user", [{"type": "tool_result", "tool_use_id": "t", "content": [image("A" * 3_000_000)]}]
    )
    assert 1_600 <= tokens_of(shown) < 2_000
    assert Window(size=6_000_000).is_over(Conversation([large, large, large])), (
        "its bytes are counted by themselves"
    )


def test_what_is_estimated_is_rather_too_much() -> None:
    rng = random.Random(4)
    words = " ".join(rng.choice(["table", "for", "two", "Sunday", "größer", "予約"]) for _ in range(1_000))
    assert tokens_of(Message(1, "user", [text(words)])) >= len(words) / 4
