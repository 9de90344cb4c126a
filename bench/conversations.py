"""A database to measure on, and conversations of a given length."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from bench.contestants import REPLY, SAID
from core.compaction import Window
from core.content import Compaction, Message
from core.conversation import Conversation
from core.ids import SessionId, TurnId, new_turn_id
from core.settings import read_settings
from core.store.holds import Hold
from dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent


@contextmanager
def database() -> Iterator[str]:
    """With full durability, as in production."""
    with server() as (_, url):
        yield url


@contextmanager
def server(options: Mapping[str, str] | None = None) -> Iterator[tuple[EmbeddedPostgres, str]]:
    """The same, with the server itself; `options` are settings of Postgres."""
    with (
        tempfile.TemporaryDirectory(prefix="latchkey-bench-") as home,
        EmbeddedPostgres(Path(home), options=options, keep=False) as postgres,
    ):
        postgres.ensure_database("bench")
        url = postgres.url("bench")
        _migrate(url)
        yield postgres, url


def conversation(url: str, stored: int) -> UUID:
    """The device of a conversation of that many messages, compacted where it would have been on its way."""
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
        if upto := _compacted(stored):
            cursor.execute(
                "INSERT INTO compactions (session_id, upto_seq, content, agent) VALUES (%s, %s, %s, 'manager')",
                (session, upto, SUMMARY),
            )
    return device


def held(url: str, device: UUID) -> Hold:
    """A function's hold on the device's conversation, as if it were at work there."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE conversation_states s SET lease_epoch = 1, lease_expires_at = now() + interval '1 hour' "
            "FROM connections c WHERE c.session_id = s.id AND c.device_id = %s RETURNING s.id, s.message_seq",
            (str(device),),
        )
        session_id, message_seq = cursor.fetchone() or (None, 0)
    return Hold(SessionId(UUID(str(session_id))), new_turn_id(), 1, message_seq, 0)


def last_turn(url: str, device: UUID) -> TurnId:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.id FROM turns t JOIN connections c USING (session_id) WHERE c.device_id = %s ORDER BY t.seq DESC LIMIT 1",
            (str(device),),
        )
        (turn_id,) = cursor.fetchone() or (None,)
    return TurnId(UUID(str(turn_id)))


# As long as one may be.
SUMMARY = json.dumps([{"type": "text", "text": "About a thousand words, in plain sentences. " * 150}])


@cache
def _compacted(stored: int) -> int:
    """Up to which message, if it grew turn by turn and was cut where the product cuts. 0: not at all."""
    sizes = [len(json.dumps(REPLY)), len(json.dumps(SAID))]
    told, window, upto = Conversation(), Window(), 0
    for seq in range(1, stored + 1):
        told.add(Message(seq, "user" if seq % 2 else "assistant", REPLY, size=sizes[seq % 2]))
        if seq % 2 and window.is_over(told) and (cut := window.cut(told, seq)) is not None:
            upto = told.messages[cut.place - 1].seq
            told = told.since(cut.place, Compaction(upto, SUMMARY))
    return upto


def _migrate(url: str) -> None:
    address = read_settings({"DATABASE_URL": url}).database_url
    assert address is not None
    engine = create_engine(address.reveal())
    config = Config(str(ROOT / "alembic.ini"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
