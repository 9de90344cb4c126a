"""One writer: claims and takes at once, leases that run out, and what a claim read before it waited."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg2
import pytest

from core.errors import SessionBusy
from core.holding import HoldLost
from core.house import House
from core.ids import SessionId
from core.lease import Lease
from core.store import claims, ends, steps, takes
from core.store.claims import Arrival, Claim, Outcome
from core.store.ends import Closing
from core.store.used import Used
from dev.demo_model import DemoModel, Fault
from tests.bells import Deaf
from tests.conversations import (
    answer,
    arrival,
    dead,
    everything,
    expire,
    held,
    history,
    row_held,
    sent,
    taken,
    wait_for_locks,
)
from tests.databases import run


def claim(house: House, arrived: Arrival, *, now: datetime | None = None) -> Claim:
    return claims.claim(house.database, arrived, lease_ttl_s=30, lock_ttl_s=86_400, idle_ttl_s=1_800, now=now)


def test_of_many_claims_at_once_one_is_granted(house: House, device: UUID) -> None:
    answer(house, arrival(device))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: claim(house, arrival(device, f"m{n}")), range(8)))
    assert [c.outcome for c in made].count(Outcome.GRANTED) == 1
    assert {c.outcome for c in made} <= {Outcome.GRANTED, Outcome.BUSY, Outcome.AGAIN}


def test_of_many_takes_at_once_one_is_granted(house: House, database_url: str, device: UUID) -> None:
    session = dead(house, database_url, arrival(device)).hold.session_id
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda _: takes.take(house.database, session, uuid4(), lease_ttl_s=30), range(8))
        )
    assert len([grant for grant in made if grant is not None]) == 1


def test_a_refused_claim_writes_nothing(house: House, database_url: str, device: UUID) -> None:
    held(house, arrival(device, "first"))
    before = everything(database_url)
    assert claim(house, arrival(device, "second")).outcome is Outcome.BUSY
    with pytest.raises(SessionBusy):
        answer(house, arrival(device, "third", on_busy="reject"))
    assert everything(database_url) == before


def test_a_lease_is_not_taken_before_its_time(house: House, device: UUID) -> None:
    begun = datetime.now(UTC)
    grant = claim(house, arrival(device, "first"), now=begun).grant
    assert grant is not None

    def take(after_s: float) -> object:
        at = begun + timedelta(seconds=after_s)
        return takes.take(house.database, grant.hold.session_id, uuid4(), lease_ttl_s=30, now=at)

    early = claim(house, arrival(device, "second"), now=begun + timedelta(seconds=29.9))
    assert early.standing is not None
    assert early.standing.busy_for_s == pytest.approx(0.1, abs=0.01)
    assert take(29.9) is None
    assert take(30) is not None


def test_a_lease_without_a_turn_is_a_lease(house: House, database_url: str, device: UUID) -> None:
    """Whoever mends a conversation holds it too."""
    answer(house, arrival(device))
    run(database_url, "UPDATE conversation_states SET lease_expires_at = now() + interval '9 seconds'")
    assert claim(house, arrival(device, "second")).outcome is Outcome.BUSY


def test_a_claim_that_is_sent_again_takes_nothing_from_its_heir(
    house: House, database_url: str, device: UUID
) -> None:
    message = arrival(device)
    first = claim(house, message).grant
    assert first is not None
    expire(database_url)
    heir = taken(house, first.hold.session_id)
    assert claim(house, message).outcome is Outcome.SEEN
    heir.beat()


def test_what_came_between_two_sendings_of_a_claim_is_not_passed_over(
    house: House, database_url: str, device: UUID
) -> None:
    message = arrival(device)
    assert claim(house, message).grant is not None
    house.turns.wakeups = Deaf()
    answer(house, arrival(device, "mind the dog", on_busy="steer"), 0)
    again = claim(house, message).grant
    assert again is not None
    used = Used("{}", "{}")
    assert ends.close(house.database, again.hold, Closing("failed"), used=used, outcome_ttl_s=60) is None


def test_the_epoch_never_falls_and_outlives_the_lease(house: House, database_url: str, device: UUID) -> None:
    for expected in (1, 2, 3):
        answer(house, arrival(device))
        state = run(database_url, "SELECT lease_epoch, lease_expires_at FROM conversation_states")
        assert state == [(expected, None)]


def test_the_agent_that_holds_the_conversation_is_found_until_its_time_is_over(
    house: House, database_url: str, device: UUID
) -> None:
    answer(house, arrival(device))
    begun = datetime.now(UTC)
    lock = "UPDATE conversation_states SET active_agent = 'billing', locked_at = %s, session_ttl = 60"
    run(database_url, lock, begun)
    grant = claim(house, arrival(device), now=begun + timedelta(seconds=59)).grant
    assert grant is not None
    assert grant.active_agent == "billing"
    session = grant.hold.session_id
    heir = takes.take(
        house.database, session, uuid4(), lease_ttl_s=30, now=begun + timedelta(seconds=59 + 30.5)
    )
    assert heir is not None
    assert heir.active_agent is None


def test_trust_is_counted_from_before_the_attempt_and_ends_a_margin_early() -> None:
    lease = Lease.from_now(30, 3)
    assert 26.5 < lease.trusted_until.left_s() <= 27
    assert not Lease.from_now(3, 3).is_trusted
    assert lease.again().trusted_until.at >= lease.trusted_until.at


# ---- what a claim read before it waited


def test_a_claim_that_waited_takes_nothing_that_it_did_not_read(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """A late holder, not yet replaced, commits while the claim stands in line for the row."""
    holder = dead(house, database_url, arrival(device, "first"))
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            ahead = pool.submit(
                house.turns.story.go_through, holder, house.turns._inline(holder.lease.trusted_until)
            )
            wait_for_locks(database_url, 1)
            behind = pool.submit(taken, house, holder.hold.session_id)
            wait_for_locks(database_url, 2)
        assert ahead.result(20) is not None
        with pytest.raises(AssertionError):
            behind.result(20)
    second = answer(house, arrival(device, "second"))
    assert second.status == "completed"
    assert [texts for _, texts in sent(model)][0::2] == [["first"], ["second"]]
    assert [seq for seq, _, _ in history(database_url)] == [1, 2, 3, 4]


def test_a_message_that_waited_while_another_began_is_not_begun_beside_it(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    """Another's claim commits just before it, and its lease is over at once: only the version tells."""
    answer(house, arrival(device, "nought"))
    long_ago = datetime.now(UTC) - timedelta(seconds=40)
    with ThreadPoolExecutor(2) as pool:
        with row_held(database_url):
            ahead = pool.submit(claim, house, arrival(device, "first"), now=long_ago)
            wait_for_locks(database_url, 1)
            behind = pool.submit(claim, house, arrival(device, "second"))
            wait_for_locks(database_url, 2)
        assert ahead.result(20).outcome is Outcome.GRANTED
        assert behind.result(20).outcome is Outcome.AGAIN
    answer(house, arrival(device, "second"))
    assert [texts[0] for role, texts in sent(model) if role == "user"] == ["nought", "first", "second"]


def test_two_who_meet_a_new_device_at_once_end_in_one_conversation(
    house: House, database_url: str, device: UUID
) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: claim(house, arrival(device, f"m{n}")), range(8)))
    assert [c.outcome for c in made].count(Outcome.GRANTED) == 1
    counts = "SELECT (SELECT count(*) FROM connections), (SELECT count(*) FROM users), (SELECT count(*) FROM conversation_states)"
    assert run(database_url, counts) == [(1, 1, 1)]


def test_one_running_turn_a_conversation_whatever_the_lease_says(
    house: House, database_url: str, device: UUID
) -> None:
    held(house, arrival(device))
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(
            database_url,
            "INSERT INTO turns (session_id, id, seq, body_digest, status) "
            "SELECT session_id, gen_random_uuid(), seq + 1, 'd', 'running' FROM turns",
        )


def test_one_turn_a_key_whatever_the_claim_says(house: House, database_url: str, device: UUID) -> None:
    answer(house, arrival(device, key="k"))
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(
            database_url,
            "INSERT INTO turns (session_id, id, seq, idempotency_key, body_digest, status) "
            "SELECT session_id, gen_random_uuid(), seq + 1, 'k', 'd', 'completed' FROM turns",
        )


# ---- the heartbeat


def test_the_lease_is_renewed_while_the_model_is_asked(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    quick = _with_lease(house, 4.0)
    gate = threading.Event()
    model.faults.add(Fault.gate(gate))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(answer, quick, arrival(device))
        try:
            assert model.requests.wait_for(1)
            ends = "SELECT lease_expires_at FROM conversation_states"
            first = run(database_url, ends)
            deadline = Lease.from_now(8, 0)
            while run(database_url, ends) == first:
                assert deadline.is_trusted, "nobody renewed it"
        finally:
            gate.set()
        assert slow.result(20).status == "completed"


def test_a_holder_that_lost_its_lease_hears_it_at_the_next_beat_and_writes_nothing(
    house: House, database_url: str, device: UUID
) -> None:
    zombie = dead(house, database_url, arrival(device))
    heir = taken(house, zombie.hold.session_id)
    before = everything(database_url)
    with pytest.raises(HoldLost):
        zombie.beat()
    assert everything(database_url) == before
    heir.beat()
    assert everything(database_url) != before


def test_a_beat_that_finds_no_database_counts_only_when_trust_is_over(house: House, device: UUID) -> None:
    holding = held(house, arrival(device))
    holding._database = house.database.by(Lease.from_now(0, 0).trusted_until)
    holding.beat()
    holding.lease = Lease.from_now(3, 3)
    with pytest.raises(HoldLost):
        holding.beat()


def _with_lease(house: House, ttl_s: float) -> House:
    house.turns.reception = dataclasses.replace(house.turns.reception, lease_ttl_s=ttl_s, lease_margin_s=1.0)
    return house


def test_a_renewal_of_a_passed_epoch_renews_nothing(house: House, database_url: str, device: UUID) -> None:
    zombie = dead(house, database_url, arrival(device))
    taken(house, zombie.hold.session_id)
    assert steps.renew(house.database, zombie.hold, lease_ttl_s=900) is None
    expire(database_url)
    assert takes.take(house.database, SessionId(zombie.hold.session_id), uuid4(), lease_ttl_s=30) is not None


def test_what_renews_nothing_is_trusted_no_longer(house: House, database_url: str, device: UUID) -> None:
    """A holder that looked, or whose write matched nothing, still has the lease that it had."""
    holding = held(house, arrival(device))
    before = holding.lease
    holding._look()
    assert holding._insist(lambda: None) is None
    assert holding.lease == before
    holding.beat()
    assert holding.lease.trusted_until.at > before.trusted_until.at
