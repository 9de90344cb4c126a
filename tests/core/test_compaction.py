"""A long conversation goes on behind a summary: nothing is lost, no pair is torn, and what is loaded and sent stays small."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from core import folding
from core.compaction import Window
from core.holding import HoldLost
from core.house import House, build_house
from core.settings import Settings
from core.store import claims, compactions
from core.store.claims import Arrival
from core.store.holds import Grant
from dev.demo_model import DemoModel, Fault, Reply
from tests.agents import Workshop, call
from tests.conversations import (
    answer,
    arrival,
    expire,
    held,
    history,
    losing_replies,
    refusals,
    sent,
    statuses,
    taken,
)
from tests.databases import run

SMALL = Window(messages=6)
ASK = folding._ASK


@pytest.fixture
def house(settings: Settings, shop: Workshop, model: DemoModel) -> Iterator[House]:
    built = opened(settings, shop)
    yield built
    built.close()
    assert refusals(model) == []


@pytest.fixture
def elsewhere(settings: Settings, shop: Workshop) -> Iterator[House]:
    """Another process."""
    built = opened(settings, shop)
    yield built
    built.close()


def opened(settings: Settings, shop: Workshop, window: Window = SMALL) -> House:
    built = build_house(settings, shop.roster(thinking=True))
    within(built, window)
    return built


def within(house: House, window: Window) -> None:
    house.turns.limits = dataclasses.replace(house.turns.limits, window=window)


def talk(house: House, device: UUID, count: int, begin: int = 1) -> None:
    for number in range(begin, begin + count):
        turn = answer(house, arrival(device, f"say {number}"))
        assert turn.status == "completed", turn.error


def at_length(device: UUID, text: str) -> Arrival:
    return dataclasses.replace(arrival(device, text + " at length" * 1_000), body_digest=text)


def asked_for_summaries(model: DemoModel) -> list[Any]:
    return [
        request.body
        for request in model.requests
        if request.body["messages"][-1]["content"][-1].get("text") == ASK
    ]


def laid(url: str) -> list[tuple[int, bool]]:
    return [(seq, out) for seq, out in run(url, "SELECT upto_seq, left_out FROM compactions ORDER BY 1")]


def told(model: DemoModel, number: int = -1) -> list[str]:
    """The first text of each message that the model was sent."""
    return [texts[0] for _, texts in sent(model, number)]


def test_a_long_conversation_goes_on_behind_a_summary_and_stays_readable(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    model.replies.add(Reply("Ada wants a table for two."))
    talk(house, device, 1, begin=4)
    assert len(asked_for_summaries(model)) == 1
    assert laid(database_url) == [(6, False)]
    summary, *kept = told(model)
    assert "<summary>\nAda wants a table for two.\n</summary>" in summary
    assert kept == ["say 4"]
    assert [text for _, role, text in history(database_url) if role == "user"] == [
        "say 1",
        "say 2",
        "say 3",
        "say 4",
    ]


def test_the_summary_is_asked_of_the_same_agent_behind_the_same_prefix(
    house: House, model: DemoModel, device: UUID
) -> None:
    talk(house, device, 4)
    (summing,) = asked_for_summaries(model)
    before = model.requests[2].body
    for part in ("model", "system", "tools", "thinking"):
        assert summing[part] == before[part]
    assert "tool_choice" not in summing
    assert summing["messages"][: len(before["messages"])] == before["messages"]


def test_a_model_that_calls_a_tool_instead_is_asked_once_more_without(
    house: House, model: DemoModel, shop: Workshop, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    model.replies.add(Reply(call("post")), Reply("A summary."))
    talk(house, device, 1, begin=4)
    assert [body.get("tool_choice") for body in asked_for_summaries(model)] == [None, {"type": "none"}]
    assert laid(database_url) == [(6, False)]
    assert shop.ran["post"] == 0


def test_a_fresh_process_loads_the_summary_and_what_came_after_it(
    house: House,
    elsewhere: House,
    model: DemoModel,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk(house, device, 4)
    seen: list[Grant] = []
    real = claims.claim

    def claim(*given: Any, **named: Any) -> claims.Claim:
        made = real(*given, **named)
        assert made.grant is not None
        seen.append(made.grant)
        return made

    monkeypatch.setattr(claims, "claim", claim)
    talk(elsewhere, device, 1, begin=5)
    talk(house, device, 1, begin=6)
    cold, warm = seen
    assert cold.compaction is not None
    assert (cold.compaction.upto_seq, [m.seq for m in cold.history]) == (6, [7, 8, 9])
    assert warm.compaction is None, "it made it itself"
    assert [m.seq for m in warm.history] == [9, 10, 11]
    assert told(model)[1:] == [text for n in (4, 5, 6) for text in (f"say {n}", "thinking")][:-1]


def test_a_process_that_remembers_it_all_is_told_of_the_summary(
    house: House, elsewhere: House, model: DemoModel, device: UUID
) -> None:
    talk(elsewhere, device, 3)
    talk(house, device, 1, begin=4)
    talk(elsewhere, device, 1, begin=5)
    assert "<summary>" in told(model)[0]
    assert "say 1" not in told(model)


def test_thinking_from_before_is_not_sent_after_it_and_later_thinking_is(
    house: House, model: DemoModel, device: UUID
) -> None:
    """It is signed for all that stood before it: the model would refuse it."""
    within(house, Window(messages=20))
    talk(house, device, 13)
    thoughts = ["thinking" in texts for role, texts in sent(model) if role == "assistant"]
    assert thoughts == [False, True, True]


def test_a_worker_loads_the_summary_too(
    house: House, elsewhere: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    talk(house, device, 4)
    holding = held(house, arrival(device, "say 5"))
    expire(database_url)
    heir = taken(elsewhere, holding.hold.session_id)
    assert [m.seq for m in heir.conversation.messages] == [7, 8, 9]
    assert heir.conversation.compaction == holding.conversation.compaction


def test_the_usage_of_a_summary_is_counted(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    model.replies.add(Reply("Short.", usage={"output_tokens": 1_000}))
    turn = answer(house, arrival(device, "say 4"))
    assert turn.usage["output_tokens"] > 1_000
    assert run(
        database_url, "SELECT (usage ->> 'output_tokens')::int FROM turns ORDER BY seq DESC LIMIT 1"
    ) == [(turn.usage["output_tokens"],)]
    ((whole,),) = run(database_url, "SELECT (usage ->> 'output_tokens')::int FROM conversation_states")
    ((summed,),) = run(database_url, "SELECT sum((usage ->> 'output_tokens')::int)::int FROM turns")
    assert whole == summed


def test_todos_survive(house: House, model: DemoModel, database_url: str, device: UUID) -> None:
    talk(house, device, 3)
    run(
        database_url,
        "INSERT INTO todos (session_id, position, content, status) SELECT id, n, 'thing ' || n, "
        "CASE n WHEN 1 THEN 'completed' ELSE 'pending' END FROM conversation_states, generate_series(1, 2) AS n",
    )
    talk(house, device, 1, begin=4)
    assert told(model)[0].endswith(":\n- [x] thing 1\n- [ ] thing 2")


# ---- what fails


@pytest.mark.parametrize(
    "fails",
    [
        Fault.status(402),
        Reply("I won't.", stop_reason="refusal"),
        Reply("As far as I", stop_reason="max_tokens"),
        Reply([], stop_reason="end_turn"),
    ],
    ids=["error", "refusal", "too long", "empty"],
)
def test_a_summary_that_fails_does_not_fail_the_turn_and_is_tried_at_the_next(
    house: House, model: DemoModel, database_url: str, device: UUID, fails: Fault | Reply
) -> None:
    talk(house, device, 3)
    (model.faults if isinstance(fails, Fault) else model.replies).add(fails)  # type: ignore[arg-type]
    talk(house, device, 1, begin=4)
    assert laid(database_url) == []
    assert told(model)[0] == "say 1"
    talk(house, device, 1, begin=5)
    assert laid(database_url) == [(8, False)]


def test_a_summary_that_takes_too_long_leaves_time_to_answer_without(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    house.turns.limits = dataclasses.replace(house.turns.limits, turn_budget_s=4.0)
    model.faults.add(Fault.hang())
    talk(house, device, 1, begin=4)
    assert laid(database_url) == []


@pytest.mark.parametrize("way", ["refused", "stopped"])
def test_what_the_model_finds_too_long_is_made_shorter_and_asked_again(
    house: House, model: DemoModel, database_url: str, device: UUID, way: str
) -> None:
    within(house, Window())
    for number in range(8):
        answer(house, at_length(device, f"say {number}"))
    if way == "refused":
        model.faults.add(Fault.status(400, message="prompt is too long: 210000 tokens > 200000 maximum"))
    else:
        model.replies.add(
            Reply("As far as", stop_reason="model_context_window_exceeded"), *[Reply("A summary.")] * 2
        )
    turn = answer(house, arrival(device, "say 9"))
    assert turn.status == "completed"
    assert "As far as" not in (turn.reply or "")
    assert len(laid(database_url)) == 2, "what does not fit is not summed up in one request either"
    sizes = [len(json.dumps(request.body["messages"])) for request in model.requests]
    assert sizes[-1] < sizes[8] / 2
    assert max(sizes[9:]) < sizes[8] * 0.6
    assert "<summary>" in told(model)[0]


def test_what_stays_too_long_fails_the_turn_with_a_word_on_it(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    within(house, Window())
    talk(house, device, 3)
    model.faults.add(*[Fault.status(413)] * 20)
    assert answer(house, arrival(device, "say 4")).status == "failed"
    assert statuses(database_url)[-1] == ("failed", "prompt_too_long")
    assert len(model.requests) < 3 + 20, "it is tried once, not again and again"
    model.faults.clear()
    talk(house, device, 1, begin=5)


def test_what_is_too_long_and_cannot_be_summed_up_does_not_end_the_conversation(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """A model that declines to sum it up would decline for ever."""
    within(house, Window())
    for number in range(4):
        answer(house, at_length(device, f"say {number}"))
    model.faults.add(Fault.status(413))
    model.replies.add(*[Reply("I won't.", stop_reason="refusal")] * 2)
    talk(house, device, 1, begin=5)
    assert told(model)[0] == folding._LOST
    assert told(model)[-1] == "say 5"
    assert len(json.dumps(model.requests[-1].body["messages"])) < 15_000
    talk(house, device, 1, begin=6)


@pytest.mark.parametrize("status", [401, 402, 529])
def test_what_is_too_long_is_not_left_out_because_the_model_could_not_be_asked(
    house: House, model: DemoModel, database_url: str, device: UUID, status: int
) -> None:
    within(house, Window())
    for number in range(4):
        answer(house, at_length(device, f"say {number}"))
    model.faults.add(Fault.status(413), Fault.status(status, retry_after=900), Fault.status(413))
    assert answer(house, arrival(device, "say 5")).status == "failed"
    assert laid(database_url) == []


# ---- who else is at it


def test_what_was_rolled_back_is_in_no_summary(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """The turn that is taken back was so long that it was compacted itself, and so was what came before."""
    house.turns.reception = dataclasses.replace(house.turns.reception, lease_ttl_s=2.0, lease_margin_s=0.5)
    talk(house, device, 2)
    peeks = Reply(call("peek"))
    model.replies.add(peeks, Reply("Before it."), peeks, peeks, Reply("Of it."))
    gate = threading.Event()
    model.faults.add(*[Fault.delay(0)] * 5, Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "take this back"))
        try:
            assert model.requests.wait_for(8)
            assert laid(database_url) == [(4, False), (9, False)]
            second = answer(house, arrival(device, "instead", on_busy="rollback"))
            assert first.result(20).status == "cancelled"
        finally:
            gate.set()
    assert second.status == "completed"
    assert laid(database_url) == [(4, False), (9, True)]
    assert "Before it." in told(model)[0]
    assert told(model)[1:] == ["instead"]


def test_a_zombies_summary_is_not_laid_over_the_conversation(
    house: House, elsewhere: House, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    holding = held(house, arrival(device, "say 4"))
    expire(database_url)
    taken(elsewhere, holding.hold.session_id)
    with pytest.raises(HoldLost):
        holding.compact(2, [{"type": "text", "text": "x"}], "manager", {})
    assert laid(database_url) == []


def test_a_summary_whose_commit_was_not_heard_of_is_laid_once(
    house: House,
    model: DemoModel,
    database_url: str,
    device: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk(house, device, 3)
    lost = losing_replies(monkeypatch, compactions._ADD, 2)
    talk(house, device, 1, begin=4)
    assert len(lost) == 2
    assert laid(database_url) == [(6, False)]
    assert run(database_url, "SELECT rewrites FROM conversation_states") == [(1,)]
    talk(house, device, 1, begin=5)
    assert len(asked_for_summaries(model)) == 1


def test_a_function_without_the_time_leaves_it_to_one_that_has(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    talk(house, device, 3)
    workers = house.start_workers(threads=1, sweep_every_s=60)
    try:
        turn = answer(house, arrival(device, "say 4"))
        assert turn.status == "completed"
    finally:
        workers.stop()
    assert laid(database_url) == [(6, False)]
    assert run(database_url, "SELECT crashes FROM turns ORDER BY seq DESC LIMIT 1") == [(0,)]
