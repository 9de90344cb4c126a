"""What a plain turn costs beside the same statements sent by hand, as ratios within one run.

    make bench            or: python -m bench.turn --rounds 200

Both contestants talk to the same real Postgres, with full durability, through psycopg2; both read the claim's history
and build the model's request from it; neither calls a model. Rounds alternate, so a busy machine slows both alike. The
figures are medians, and what falls short is said.
"""

import argparse
import dataclasses
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import psycopg2.extras
from alembic import command
from alembic.config import Config
from sqlalchemy import TextClause, create_engine

from core.content import dump
from core.deadline import Deadline
from core.house import build_house
from core.ids import DeviceId, new_session_id, new_turn_id, new_user_id
from core.model.prompt import Prompt
from core.model.reply import ModelReply
from core.settings import read_settings
from core.store import claims, turns
from core.store.claims import Arrival
from core.turn import Turns
from dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent
SAID = [{"type": "text", "text": "A sentence of the usual length, such as people write."}]
REPLY = [{"type": "text", "text": "An answer of the usual length. " * 10}]
USAGE = {"input_tokens": 100, "output_tokens": 80}
BAR = 1.25


class SilentModel:
    """Renders the request, as every model must, and answers without being asked."""

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass

    def reply(self, prompt: Prompt, deadline: Deadline) -> ModelReply:
        del deadline
        prompt.render()
        return ModelReply(REPLY, "end_turn", USAGE)


class HandWritten:
    """The same two statements by psycopg2 alone, with what any program must do with what they return."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
        self._claim = _for_psycopg2(claims._CLAIM)
        self._finish = _for_psycopg2(turns._FINISH)

    def turn(self, device: UUID) -> None:
        arrived = _arrival(device)
        self._cursor.execute(
            self._claim,
            {
                **dataclasses.asdict(arrived),
                "lease_ttl_s": 30,
                "session_ttl_s": 60,
                "abandoned": "{}",
                "now": None,
            },
        )
        row = self._cursor.fetchone()
        assert row is not None
        history = json.loads(row["history"] or "[]")
        messages = [{"role": item["role"], "content": item["content"]} for item in history]
        messages.append({"role": "user", "content": json.loads(arrived.content)})
        self._cursor.execute(
            self._finish,
            {
                "session_id": row["session_id"],
                "turn_id": arrived.turn_id,
                "epoch": row["lease_epoch"],
                "message_seq": row["message_seq"],
                "agent": "manager",
                "content": json.dumps(REPLY),
                "prefix_digest": "0" * 64,
                "stop_reason": "end_turn",
                "usage": json.dumps(USAGE),
                "turn_usage": json.dumps(USAGE),
                "session_usage": json.dumps(USAGE),
                "now": None,
            },
        )
        assert self._cursor.fetchone() is not None

    def close(self) -> None:
        self._connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.turn", description="What a plain turn costs, as ratios."
    )
    parser.add_argument(
        "--rounds", type=int, default=200, help="turns of each contestant and size (default 200)"
    )
    rounds = parser.parse_args().rounds
    psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # its stub has no types
    with (
        tempfile.TemporaryDirectory(prefix="latchkey-bench-") as home,
        EmbeddedPostgres(Path(home), keep=False) as postgres,
    ):
        postgres.ensure_database("bench")
        url = postgres.url("bench")
        _migrate(url)
        house = build_house(read_settings({"DATABASE_URL": url}))
        ours = dataclasses.replace(house.turns, model=SilentModel())
        theirs = HandWritten(url)
        print(f"a plain turn without the model; medians of {rounds} alternating rounds\n")
        print(
            "| stored messages | hand-written, ms | Latchkey, ms | ratio | to reach |\n|---:|---:|---:|---:|---|"
        )
        for stored in (10, 100, 1_000):
            by_hand, latchkey = _compare(url, stored, rounds, theirs, ours)
            verdict = f"≤ {BAR}" + ("" if latchkey / by_hand <= BAR or stored > 100 else ": FALLS SHORT")
            bar = verdict if stored <= 100 else "not bounded before compaction"
            print(
                f"| {stored} | {by_hand * 1e3:.2f} | {latchkey * 1e3:.2f} | {latchkey / by_hand:.2f} | {bar} |",
                flush=True,
            )
        theirs.close()
        house.close()


def _compare(url: str, stored: int, rounds: int, theirs: HandWritten, ours: Turns) -> tuple[float, float]:
    """Both begin anew with a conversation of that size after every ten turns, so that it stays of that size."""
    by_hand: list[float] = []
    latchkey: list[float] = []
    devices = uuid4(), uuid4()
    for number in range(rounds):
        if number % 10 == 0:
            devices = _conversation(url, stored), _conversation(url, stored)
            theirs.turn(devices[0])
            _ours(ours, devices[1])
        by_hand.append(_timed(theirs.turn, devices[0]))
        latchkey.append(_timed(_ours, ours, devices[1]))
    return statistics.median(by_hand), statistics.median(latchkey)


def _ours(contestant: Turns, device: UUID) -> None:
    assert contestant.answer(_arrival(device), Deadline.after(25)).status == "completed"


def _timed(work: Callable[..., None], *arguments: Any) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def _arrival(device: UUID) -> Arrival:
    return Arrival(
        DeviceId(device), dump(SAID), "d" * 64, None, new_turn_id(), new_session_id(), new_user_id()
    )


def _conversation(url: str, stored: int) -> UUID:
    device, session, user = uuid4(), uuid4(), uuid4()
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO users (id) VALUES (%s)", (user,))
        cursor.execute(
            "INSERT INTO conversation_states (id, user_id, message_seq) VALUES (%s, %s, %s)",
            (session, user, stored),
        )
        cursor.execute(
            "INSERT INTO connections (device_id, user_id, session_id) VALUES (%s, %s, %s)",
            (device, user, session),
        )
        cursor.execute(
            "INSERT INTO messages (session_id, seq, turn_id, role, content) SELECT %s, n, gen_random_uuid(), "
            "CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, CASE n %% 2 WHEN 1 THEN %s ELSE %s END "
            "FROM generate_series(1, %s) AS n",
            (session, json.dumps(SAID), json.dumps(REPLY), stored),
        )
    return device


def _for_psycopg2(statement: TextClause) -> str:
    return re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", statement.text)


def _migrate(url: str) -> None:
    address = read_settings({"DATABASE_URL": url}).database_url
    assert address is not None
    engine = create_engine(address.reveal())
    config = Config(str(ROOT / "alembic.ini"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


if __name__ == "__main__":
    main()
