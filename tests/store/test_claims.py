"""What the claim costs does not grow with what a conversation has behind it, but for the history itself."""

import re
from uuid import uuid4

from sqlalchemy import text

from core.access import named
from core.house import House
from core.ids import DeviceId
from core.store import claims
from tests.databases import run


def test_a_claim_finds_its_turn_without_reading_the_others(house: House, database_url: str) -> None:
    device, session, user = uuid4(), uuid4(), uuid4()
    run(database_url, "INSERT INTO users (id) VALUES (%s)", str(user))
    run(
        database_url, "INSERT INTO conversation_states (id, user_id) VALUES (%s, %s)", str(session), str(user)
    )
    run(
        database_url,
        "INSERT INTO connections (device_id, user_id, session_id) VALUES (%s, %s, %s)",
        *map(str, (device, user, session)),
    )
    run(
        database_url,
        "INSERT INTO turns (session_id, id, seq, idempotency_key, body_digest, status, first_seq, last_seq, ended_at) "
        "SELECT %s, gen_random_uuid(), n, 'k' || n, 'd', 'completed', n, n, now() FROM generate_series(1, 5000) AS n",
        str(session),
    )
    given = {
        **named(DeviceId(device)),
        "named_session": None,
        "is_followed": False,
        "user_id": uuid4(),
        "session_id": uuid4(),
        "turn_id": uuid4(),
        "content": "[]",
        "body_digest": "d",
        "idempotency_key": "k77",
        "lease_ttl_s": 30,
        "lock_ttl_s": 60,
        "idle_ttl_s": 1_800,
        "now": None,
        "known_session": None,
        "known_rewrites": -1,
        "known_seq": 0,
    }
    explained = house.database.rows(text(f"EXPLAIN (ANALYZE, TIMING OFF) {claims._CLAIM.text}"), given)
    plan = "\n".join(str(row["QUERY PLAN"]) for row in explained)
    assert "uq_turns_session_id_idempotency_key" in plan
    assert "pk_turns" in plan
    read = [int(rows.split(".")[0]) for rows in re.findall(r"actual rows=([\d.]+)", plan)]
    assert max(read) <= 2, plan
