"""The two contestants: Latchkey, and the same statements sent by hand."""

import dataclasses
import json
import re
from concurrent.futures import Future
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import psycopg2.extras
from psycopg2.extensions import get_wait_callback, set_wait_callback
from sqlalchemy import TextClause, text

from core.agents.agent import Agent
from core.agents.roster import Roster
from core.agents.tool import Effect, Tool
from core.content import dump
from core.deadline import Deadline
from core.house import House, build_house
from core.ids import DeviceId, TurnId, new_session_id, new_turn_id, new_user_id
from core.model.bill import Bill
from core.model.prompt import Prompt
from core.model.reply import Model, ModelReply, Sink
from core.settings import read_settings
from core.store import claims, ends, steps
from core.store.claims import Arrival
from core.store.holds import Hold
from core.store.rates import Bucket, Charge
from core.store.steps import Consequences
from core.store.used import Used

SAID = [{"type": "text", "text": "A sentence of the usual length, such as people write."}]
REPLY = [{"type": "text", "text": "An answer of the usual length. " * 10}]
USAGE = {"input_tokens": 100, "output_tokens": 80}
RESULT = "Slots: 9:00, 10:30, 14:00."

# Each message is charged, as it is by default, and none is one too many.
_BACKEND = text("SELECT pg_backend_pid() AS pid")
_RATES = {"RATE_DEVICE_PER_MINUTE": "100000", "RATE_DEVICE_BURST": "100000"}
_CHARGE = Charge(Bucket(100_000, 100_000), None, None)

psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # its stub has no types


class SilentModel:
    """Renders the request, as every model must, and answers at once: in tool rounds first with a call."""

    def __init__(self, *, calls: bool) -> None:
        self._calls = calls

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass

    def ask(
        self, prompt: Prompt, deadline: Deadline, bill: Bill | None = None, sink: Sink | None = None
    ) -> "Future[ModelReply]":
        del deadline, bill, sink
        request = prompt.render()
        answered: Future[ModelReply] = Future()
        if self._calls and request["messages"][-1]["content"][0]["type"] == "text":
            answered.set_result(ModelReply(_call(), "tool_use", USAGE, USAGE))
        else:
            answered.set_result(ModelReply(REPLY, "end_turn", USAGE, USAGE))
        return answered


def _call() -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": f"toolu_{uuid4().hex}", "name": "slots", "input": {"day": "Monday"}}]


SLOTS = Tool(name="slots", description="Free slots.", effect=Effect.READ, run=lambda _, __: RESULT)


class Latchkey:
    """`remembers`: a warm process that goes on with conversations it knows; else each turn loads them anew."""

    name = "Latchkey"

    def __init__(self, url: str, *, calls: bool = False, remembers: bool = False) -> None:
        roster = Roster.of(Agent(key="manager", prompt="You are brief.", tools=(SLOTS,) if calls else ()))
        self._house: House = build_house(read_settings({"DATABASE_URL": url, **_RATES}), roster)
        self._house.turns.asking.model = SilentModel(calls=calls)
        self._remembers = remembers

    def turn(self, device: UUID) -> None:
        if not self._remembers:
            self._house.turns.reception.memory.of_device(DeviceId(device))
        assert self._house.turns.answer(arrival(device), 25).status == "completed"

    def renew(self, hold: Hold) -> None:
        """What a function does every three seconds that it waits."""
        assert steps.renew(self._house.database, hold, lease_ttl_s=30) is not None

    def look(self, device: UUID, turn_id: TurnId) -> None:
        """What a client does that waits for its turn elsewhere."""
        assert self._house.turns.look(DeviceId(device), turn_id, 0).id == turn_id

    def asks(self, model: Model) -> None:
        """Another model from now on."""
        self._house.turns.asking.model = model

    def backend(self) -> int:
        """The server's process behind its connection."""
        row = self._house.database.row(_BACKEND, {})
        assert row is not None
        return int(row["pid"])

    def close(self) -> None:
        self._house.close()


class HandWritten:
    """The same statements by psycopg2 alone, with what any program must do with what they return."""

    name = "hand-written"

    def __init__(self, url: str, *, calls: bool = False) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
        self._calls = calls

    def turn(self, device: UUID) -> None:
        # Latchkey has psycopg2 wait with a deadline, for all of the process; by hand one would let it wait for ever.
        waits = get_wait_callback()
        set_wait_callback(None)
        self._turn(device)
        set_wait_callback(waits)

    def _turn(self, device: UUID) -> None:
        row = self._claim(device)
        history = json.loads(row["history"] or "[]")
        messages = [{"role": item[1], "content": item[2]} for item in history]
        if row["compaction"] is not None:
            messages.insert(0, {"role": "user", "content": json.loads(row["compaction"])})
        messages.append({"role": "user", "content": SAID})
        hold = {
            "session_id": row["session_id"],
            "turn_id": row["own_id"],
            "epoch": row["lease_epoch"],
            "message_seq": row["message_seq"],
            "signal_seq": row["signal_seq"],
            "lease_ttl_s": 30,
            "now": None,
        }
        if self._calls:
            hold["message_seq"] = self._tool_round(hold)
        assert self._do(_FINISH, {**hold, **_reply(REPLY, "end_turn")}) is not None

    def _claim(self, device: UUID) -> dict[str, Any]:
        arrived = arrival(device)
        known = {"known_session": None, "known_rewrites": -1, "known_seq": 0}
        ttls = {"lease_ttl_s": 30, "lock_ttl_s": 60, "idle_ttl_s": 1_800}
        shown = {"token_version": None, "subject": None, "link": None, "named_session": None}
        given = {**dataclasses.asdict(arrived), **shown, **known, **ttls, **_CHARGE.named(), "now": None}
        row = self._do(_CLAIM, given)
        return {**row, "own_id": arrived.turn_id}

    def _tool_round(self, hold: dict[str, Any]) -> int:
        (asked,) = _call()
        calls = [
            {
                "id": asked["id"],
                "name": "slots",
                "effect": "read",
                "input_digest": "d",
                "approval_id": None,
                "approver": "owner",
            }
        ]
        given = {**_reply([asked], "tool_use"), "calls": json.dumps(calls), "approval_ttl_s": 60}
        row = self._do(_REPLY, {**hold, **given})
        result = [{"type": "tool_result", "tool_use_id": asked["id"], "content": RESULT}]
        given = {
            "message_seq": row["message_seq"],
            "content": json.dumps(result),
            "settled": json.dumps([{"id": asked["id"], "status": "done"}]),
            "outcome_ttl_s": 60,
            "session_usage": json.dumps(USAGE),
            **Consequences().named(),
        }
        seq: int = self._do(_RESULTS, {**hold, **given})["message_seq"]
        return seq

    def _do(self, statement: str, given: dict[str, Any]) -> dict[str, Any]:
        self._cursor.execute(statement, given)
        row = self._cursor.fetchone()
        assert row is not None
        return dict(row)

    def close(self) -> None:
        self._connection.close()


Contestant = Latchkey | HandWritten


def arrival(device: UUID) -> Arrival:
    return Arrival(
        DeviceId(device), dump(SAID), "d" * 64, None, new_turn_id(), new_session_id(), new_user_id()
    )


def _reply(content: list[dict[str, Any]], stop_reason: str) -> dict[str, Any]:
    return {
        "agent": "manager",
        "content": json.dumps(content),
        "prefix_digest": "0" * 64,
        "stop_reason": stop_reason,
        "usage": json.dumps(USAGE),
        **Used(json.dumps(USAGE), json.dumps(USAGE)).named(),
    }


def _for_psycopg2(statement: TextClause) -> str:
    return re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", statement.text.replace("%", "%%"))


_CLAIM, _REPLY, _RESULTS, _FINISH = map(
    _for_psycopg2, (claims._CLAIMS[False, True, False], steps._REPLY, steps._RESULTS, ends._FINISH)
)
