"""The adapter to Claude: a whole reply or a clear failure by the deadline, through every fault of the wire."""

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from core.content import Message
from core.conversation import Conversation
from core.deadline import Deadline
from core.errors import ModelFailed, ModelTimeout
from core.model.bill import Bill
from core.model.claude import Claude
from core.model.prompt import Prompt
from core.model.reply import ModelReply
from core.settings import Secret
from dev.demo_model import DemoModel, Fault, Reply
from tests.conversations import until

PROMPT = Prompt(
    "claude-test",
    "Be brief.",
    100,
    False,
    Conversation([Message(1, "user", [{"type": "text", "text": "Hi"}])]),
)


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def claude(model: DemoModel, naps: list[float]) -> Iterator[Claude]:
    adapter = Claude(Secret("demo"), model.url, sleep=naps.append)
    yield adapter
    adapter.close()


def _asked(claude: Claude, left_s: float = 20.0) -> ModelReply:
    """As the story waits: until the deadline, and then it leaves the model behind."""
    deadline = Deadline.after(left_s)
    try:
        return claude.ask(PROMPT, deadline).result(deadline.left_s())
    except TimeoutError:
        raise ModelTimeout from None


def _fails(claude: Claude, code: str, left_s: float = 20.0) -> None:
    with pytest.raises(ModelFailed) as caught:
        _asked(claude, left_s)
    assert caught.value.code == code


def test_a_reply_comes_whole_with_its_stop_reason_and_usage(claude: Claude, model: DemoModel) -> None:
    model.replies.add(Reply("Hello \0 there"))
    reply = _asked(claude)
    assert reply.content == [{"type": "text", "text": "Hello \0 there"}]
    assert reply.stop_reason == "end_turn"
    assert reply.usage["output_tokens"] > 0
    assert reply.spent["output_tokens"] == reply.usage["output_tokens"]
    assert model.requests[-1].body["stream"] is True


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429, retry_after=2),
        Fault.status(529),
        Fault.status(503),
        Fault.status(500),
        Fault.error_event(after=3),
        Fault.error_event(after=1, type="api_error"),
        Fault.cut(after=0),
        Fault.cut(after=3),
        Fault.cut(after=4, reset=True),
        Fault.end_early(after=0),
        Fault.end_early(after=1),
        Fault.end_early(after=3),
        Fault.end_early(after=6),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(
    claude: Claude, model: DemoModel, naps: list[float], fault: Fault
) -> None:
    model.faults.add(fault)
    model.replies.add(Reply("Once"), Reply("Once"))
    assert _asked(claude).content == [{"type": "text", "text": "Once"}]
    assert len(model.requests) == 2
    assert naps == [2.0 if fault.headers else 0.5]


BILLED = {"input_tokens": 1_000, "cache_read_input_tokens": 200, "output_tokens": 50}


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (Fault.status(529), 1),
        (Fault.end_early(after=0), 1),
        (Fault.cut(after=3), 2),
        (Fault.error_event(after=3), 2),
        (Fault.end_early(after=-1), 2),
    ],
    ids=str,
)
def test_a_try_that_broke_after_it_began_is_counted_with_the_reply(
    claude: Claude, model: DemoModel, fault: Fault, tries: int
) -> None:
    model.faults.add(fault)
    model.replies.add(Reply("Once", usage=BILLED), Reply("Once", usage=BILLED))
    reply = _asked(claude)
    assert reply.usage["input_tokens"] == 1_000
    assert reply.spent["input_tokens"] == tries * 1_000
    assert reply.spent["cache_read_input_tokens"] == tries * 200


def test_how_much_of_a_broken_answer_was_said_is_counted_as_the_api_told_it(
    claude: Claude, model: DemoModel
) -> None:
    """Before `message_delta` it tells of one token; with it, of all."""
    model.faults.add(Fault.end_early(after=3), Fault.end_early(after=6))
    model.replies.add(*[Reply("Once", usage=BILLED)] * 3)
    assert _asked(claude).spent["output_tokens"] == 1 + 50 + 50


def test_tries_that_came_to_nothing_are_told_with_the_failure(claude: Claude, model: DemoModel) -> None:
    model.faults.add(*[Fault.cut(after=3) for _ in range(50)])
    model.replies.add(*[Reply("Once", usage=BILLED)] * 50)
    with pytest.raises(ModelFailed) as caught:
        _asked(claude, left_s=4.0)
    assert caught.value.spent["input_tokens"] == len(model.requests) * 1_000


def test_an_answer_that_is_left_behind_is_on_the_bill(claude: Claude, model: DemoModel) -> None:
    _asked(claude)
    model.faults.add(Fault.drip(0.002))
    model.replies.add(Reply("word " * 200, usage=BILLED))
    bill = Bill("claude-test")
    claude.ask(PROMPT, Deadline.after(2.0), bill)
    until(lambda: bill.spent["input_tokens"] == 1_000)
    assert "cost_micros" not in bill.spent


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.status(400), "model_rejected_request"),
        (Fault.status(401), "model_credentials_rejected"),
        (Fault.status(402), "model_billing"),
        (Fault.status(403), "model_credentials_rejected"),
        (Fault.status(404), "model_rejected_request"),
        (Fault.status(413), "prompt_too_long"),
        (
            Fault.status(400, message="prompt is too long: 210000 tokens > 200000 maximum"),
            "prompt_too_long",
        ),
    ],
    ids=str,
)
def test_what_will_not_pass_is_not_tried_again(
    claude: Claude, model: DemoModel, naps: list[float], fault: Fault, code: str
) -> None:
    model.faults.add(fault)
    _fails(claude, code)
    assert len(model.requests) == 1
    assert naps == []


def test_a_server_that_asks_for_more_patience_than_there_is_ends_the_turn_at_once(
    claude: Claude, model: DemoModel, naps: list[float]
) -> None:
    model.faults.add(Fault.status(429, retry_after=900))
    _fails(claude, "model_overloaded")
    assert naps == []


def test_trying_again_stops_with_the_time(claude: Claude, model: DemoModel, naps: list[float]) -> None:
    model.faults.add(*[Fault.status(529) for _ in range(50)])
    _fails(claude, "model_overloaded", left_s=4.0)
    assert naps[:3] == [0.5, 1.0, 2.0]
    assert all(nap <= 3.0 for nap in naps)


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.drip(0.05)], ids=["hang", "drip"])
def test_a_model_that_does_not_come_to_an_end_is_left_at_the_deadline(
    claude: Claude, model: DemoModel, fault: Fault
) -> None:
    _asked(claude)
    model.faults.add(fault)
    begun = time.monotonic()
    _fails(claude, "model_timeout", left_s=1.0)
    assert time.monotonic() - begun < 2.0


def test_a_server_that_is_not_there_is_unavailable(naps: list[float]) -> None:
    adapter = Claude(Secret("demo"), "http://127.0.0.1:1", sleep=naps.append)
    _fails(adapter, "model_unavailable", left_s=1.2)
    adapter.close()


def test_no_key_is_a_clear_failure_and_no_request(model: DemoModel) -> None:
    _fails(Claude(None, model.url), "model_credentials_rejected")
    assert len(model.requests) == 0


def test_a_failure_says_nothing_of_the_key_or_the_message(claude: Claude, model: DemoModel) -> None:
    model.faults.add(Fault.status(400, message="the secret demo key and Hi"))
    with pytest.raises(ModelFailed) as caught:
        _asked(claude)
    assert "secret" not in caught.value.detail


def test_a_stream_that_stopped_without_a_reason_is_no_reply() -> None:
    """The demo model cannot be made to send one: here the wire is replayed."""
    start: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [],
        "stop_reason": None,
        "usage": {},
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "message_stop"}]
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    tries = []

    def replay(request: httpx2.Request) -> httpx2.Response:
        tries.append(request)
        return httpx2.Response(200, text=stream, headers={"content-type": "text/event-stream"})

    adapter = Claude(Secret("demo"), "http://127.0.0.1:1", sleep=lambda _: None)
    adapter._client = anthropic.Anthropic(
        api_key="demo", max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(replay))
    )
    _fails(adapter, "model_unavailable", left_s=2.0)
    assert len(tries) > 1
    adapter.close()


def test_a_reply_that_nobody_waits_for_is_not_read_to_its_end(claude: Claude, model: DemoModel) -> None:
    """What comes after would be paid for, and be on no bill."""
    _asked(claude)
    model.faults.add(Fault.drip(0.01))
    bill = Bill(PROMPT.model)
    reply = claude.ask(PROMPT, Deadline.after(60), bill)
    until(lambda: bill.spent["input_tokens"] > 0)
    bill.is_left = True
    assert isinstance(reply.exception(10), ModelTimeout)


def test_a_model_is_not_asked_again_for_nobody(model: DemoModel) -> None:
    bill = Bill(PROMPT.model)

    def leave(_: float) -> None:
        bill.is_left = True

    claude = Claude(Secret("demo"), model.url, sleep=leave)
    model.faults.add(Fault.status(529))
    assert isinstance(claude.ask(PROMPT, Deadline.after(20), bill).exception(10), ModelFailed)
    assert model.requests.total == 1
    claude.close()
