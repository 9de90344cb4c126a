"""The model fails, or answers in a way that cannot be used: the turn says why, and the conversation goes on."""

import dataclasses
from uuid import UUID

import pytest

from core.house import House
from dev.demo_model import DemoModel, Fault
from dev.demo_model import Reply as Scripted
from tests.conversations import answer, arrival, history


def test_a_failed_turn_says_why_and_does_not_block_the_next(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    model.faults.add(Fault.status(402))
    failed = answer(house, arrival(device, "first", "k"))
    assert (failed.status, failed.reply) == ("failed", None)
    assert failed.error is not None
    assert failed.error["code"] == "model_billing"
    again = answer(house, arrival(device, "first", "k"))
    assert dataclasses.asdict(again) == dataclasses.asdict(failed)
    assert answer(house, arrival(device, "second")).status == "completed"
    assert [role for _, role, _ in history(database_url)] == ["user", "user", "assistant"]


@pytest.mark.parametrize(
    ("scripted", "code"),
    [
        (Scripted("I won't.", stop_reason="refusal"), "model_refused"),
        (Scripted([], stop_reason="end_turn"), "model_said_nothing"),
        (Scripted("What?", stop_reason="a_new_reason"), "model_stopped_unexpectedly"),
    ],
)
def test_a_reply_that_cannot_be_stored_fails_the_turn_and_leaves_a_valid_history(
    house: House, model: DemoModel, device: UUID, scripted: Scripted, code: str
) -> None:
    model.replies.add(scripted)
    turn = answer(house, arrival(device))
    assert (turn.status, turn.error and turn.error["code"]) == ("failed", code)
    assert turn.usage["input_tokens"] > 0, "what was paid for is counted"
    assert answer(house, arrival(device)).status == "completed"
    assert model.requests[-1].status == 200


@pytest.mark.parametrize("stop_reason", ["max_tokens", "stop_sequence", "model_context_window_exceeded"])
def test_a_reply_that_was_cut_short_is_still_a_reply(
    house: House, model: DemoModel, device: UUID, stop_reason: str
) -> None:
    model.replies.add(Scripted("As far as I", stop_reason=stop_reason))
    assert answer(house, arrival(device)).reply == "As far as I"
    assert answer(house, arrival(device)).status == "completed"


def test_thinking_is_stored_and_a_new_prompt_does_not_break_the_conversation(
    house: House, model: DemoModel, device: UUID
) -> None:
    roster = house.turns.roster
    thinker = dataclasses.replace(roster.manager, thinking=True, max_tokens=4_096)
    for prompt in ("You are one.", "You are one.", "You are another."):
        house.turns.roster = type(roster).of(dataclasses.replace(thinker, prompt=prompt))
        turn = answer(house, arrival(device))
        assert turn.status == "completed", turn.error
        assert turn.content[0]["type"] == "thinking"
    thoughts = [
        sum(b["type"] == "thinking" for m in r.body["messages"] for b in m["content"]) for r in model.requests
    ]
    assert thoughts == [0, 1, 0], "sent behind its own prompt, left out behind another"
