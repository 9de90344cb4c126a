"""How much a device, and a network, may send: reckoned by the database's clock, and exact for many at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import Caller
from core.deadline import Deadline
from core.errors import RateExceeded
from core.house import House, build_house
from core.ids import DeviceId
from core.rates import Left, Rates, address_class, exceeded, left
from core.settings import Settings
from core.store import claims, rates
from core.store.claims import Arrival, Claim, Outcome
from core.store.rates import Ahead, Bucket, Charge
from tests.conversations import answer, arrival, conversations, everything, held, in_the_way, wait_for_locks
from tests.databases import run
from tests.guests import let_in

START = datetime(2026, 1, 1, tzinfo=UTC)
# Three at once, and then one in ten seconds.
DEVICE = Bucket(6, 3)
RATES = "SELECT class, rate_at FROM address_rates"
HERE = address_class("203.0.113.7")


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(replace(settings, rate_device_per_minute=1, rate_device_burst=3))
    yield built
    built.close()


def claim(
    house: House, arrived: Arrival, charge: Charge | None, after_s: float = 0, lease_ttl_s: float = 0.001
) -> Claim:
    return claims.claim(
        house.database,
        arrived,
        lease_ttl_s=lease_ttl_s,
        lock_ttl_s=60,
        idle_ttl_s=100_000,
        charge=charge,
        now=START + timedelta(seconds=after_s),
    )


def over(url: str) -> None:
    """What was begun is over, so that the next message can begin."""
    run(url, "UPDATE turns SET status = 'completed', ended_at = now() WHERE ended_at IS NULL")
    run(url, "UPDATE conversation_states SET lease_expires_at = NULL")


def outcome(house: House, url: str, charge: Charge, after_s: float, device: UUID) -> str:
    made = claim(house, arrival(device), charge, after_s)
    over(url)
    return made.outcome.value


def test_so_many_at_once_and_then_one_at_a_time(house: House, database_url: str, device: UUID) -> None:
    charge = Charge(DEVICE, None, None)
    times = (0, 0, 0, 0, 9.9, 10, 10.1, 20, 100, 100, 100, 100)
    came = [outcome(house, database_url, charge, at, device) for at in times]
    g, r = "granted", "rated"
    assert came == [g, g, g, r, r, g, r, g, g, g, g, r]


def test_the_network_has_a_bucket_of_its_own_whatever_the_device(house: House, database_url: str) -> None:
    charge = Charge(DEVICE, Bucket(6, 4), HERE)
    came = [outcome(house, database_url, charge, 0, uuid4()) for _ in range(5)]
    assert came == ["granted"] * 4 + ["rated"]
    assert run(database_url, "SELECT count(*) FROM connections") == [(4,)], "who was refused is not met"
    elsewhere = replace(charge, address_class=address_class("198.51.100.7"))
    assert outcome(house, database_url, elsewhere, 0, uuid4()) == "granted"
    assert outcome(house, database_url, charge, 10, uuid4()) == "granted"


def test_over_its_rate_nothing_is_written_and_it_says_when_to_come_again(
    house: House, database_url: str, device: UUID
) -> None:
    for _ in range(3):
        answer(house, arrival(device))
    before = [everything(database_url), run(database_url, RATES)]
    with pytest.raises(RateExceeded) as refused:
        answer(house, arrival(device))
    assert refused.value.retry_after_s in range(1, 61)
    assert refused.value.left.headers["RateLimit-Remaining"] == "0"
    assert [everything(database_url), run(database_url, RATES)] == before


def test_a_new_conversation_in_place_of_one_past_its_time_is_charged_too(
    house: House, database_url: str, device: UUID
) -> None:
    charge = Charge(DEVICE, None, None)
    came = []
    for _ in range(4):
        came.append(outcome(house, database_url, charge, 0, device))
        run(database_url, "UPDATE conversation_states SET last_active_at = '2020-01-01'")
    assert came == ["granted"] * 3 + ["rated"]
    assert len(conversations(database_url)) == 3


def test_a_retry_is_free(house: House, database_url: str, device: UUID) -> None:
    turn = answer(house, arrival(device, key="k"))
    charged = run(database_url, "SELECT rate_at FROM connections")
    for _ in range(9):
        assert answer(house, arrival(device, key="k")).id == turn.id
    assert run(database_url, "SELECT rate_at FROM connections") == charged


def test_a_grant_that_is_sent_twice_is_charged_once(house: House, database_url: str, device: UUID) -> None:
    charge, arrived = Charge(DEVICE, Bucket(6, 3), HERE), arrival(device)
    first = claim(house, arrived, charge, lease_ttl_s=30)
    charged = [run(database_url, "SELECT rate_at FROM connections"), run(database_url, RATES)]
    assert claim(house, arrived, charge, lease_ttl_s=30).outcome is first.outcome is Outcome.GRANTED
    assert [run(database_url, "SELECT rate_at FROM connections"), run(database_url, RATES)] == charged


@pytest.mark.parametrize("on_busy", ["queue", "merge", "latest", "interrupt", "steer"])
def test_what_is_put_in_line_is_charged_and_what_is_not_taken_is_not(
    house: House, database_url: str, device: UUID, on_busy: str
) -> None:
    held(house, arrival(device))
    for _ in range(2):
        house.turns.reception.accept(arrival(device, on_busy=on_busy), Deadline.after(5))
    before = everything(database_url)
    with pytest.raises(RateExceeded):
        house.turns.reception.accept(arrival(device, on_busy=on_busy), Deadline.after(5))
    assert everything(database_url) == before


@pytest.mark.parametrize("in_the_line", [False, True])
def test_of_two_at_once_one_takes_the_last_place_of_a_device(
    house: House, database_url: str, device: UUID, in_the_line: bool
) -> None:
    """In two conversations, so that it is the device's row alone that they meet at."""
    answer(house, arrival(device))
    answer(house, arrival(device))
    other = answer(house, arrival(uuid4())).session_id
    assert other is not None
    let_in(database_url, other, "editor", device)
    if in_the_line:
        held(house, arrival(device))
        run(database_url, "UPDATE connections SET rate_at = rate_at - interval '60 seconds'")
    there = replace(arrival(device), caller=Caller(DeviceId(device), session_id=other))
    before = run(database_url, "SELECT count(*) FROM turns")[0][0]
    with ThreadPoolExecutor(2) as pool:
        with in_the_way(database_url, "SELECT FROM connections FOR UPDATE"):
            both = [
                pool.submit(house.turns.reception.accept, one, Deadline.after(15))
                for one in (arrival(device), there)
            ]
            wait_for_locks(database_url, 2)
        refused = [one for one in both if isinstance(one.exception(20), RateExceeded)]
    assert len(refused) == 1
    assert run(database_url, "SELECT count(*) FROM turns") == [(before + 1,)]


def test_of_many_at_once_no_more_than_have_room_are_taken_from_a_network(
    settings: Settings, database_url: str
) -> None:
    house = build_house(replace(settings, rate_address_per_minute=1, rate_address_burst=5))
    arrived = [replace(arrival(uuid4()), address_class=HERE) for _ in range(12)]

    def send(one: Arrival) -> bool:
        try:
            house.turns.reception.accept(one, Deadline.after(20))
        except RateExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(send, arrived)) == 5
    assert len(conversations(database_url)) == 5
    house.close()


def test_two_that_are_a_networks_first_at_the_same_moment_are_not_both_taken_for_the_only_one(
    house: House, database_url: str
) -> None:
    """A bucket that is not there cannot be locked: whoever comes second to it reckons anew."""
    here = replace(house.turns.reception, rates=Rates(address=DEVICE))
    first = f"INSERT INTO address_rates (class, rate_at) VALUES ('{HERE}', now() + interval '1 hour')"
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, first):
            second = pool.submit(
                here.accept, replace(arrival(uuid4()), address_class=HERE), Deadline.after(20)
            )
            wait_for_locks(database_url, 1)
        assert isinstance(second.exception(20), RateExceeded)
    assert conversations(database_url) == []


def test_who_finds_the_conversation_taken_is_not_charged_for_it(
    house: House, database_url: str, device: UUID
) -> None:
    """They stood in line for the conversation's row, and somebody committed before them."""
    answer(house, arrival(device))
    before = run(database_url, "SELECT rate_at FROM connections")
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1"):
            late = pool.submit(
                claims.claim,
                house.database,
                arrival(device),
                lease_ttl_s=30,
                lock_ttl_s=60,
                idle_ttl_s=1_800,
                charge=Charge(Bucket(1, 3), Bucket(6, 3), HERE),
            )
            wait_for_locks(database_url, 1)
        assert late.result(20).outcome is Outcome.AGAIN
    assert run(database_url, "SELECT rate_at FROM connections") == before
    assert run(database_url, RATES) == []


def test_where_rates_are_off_nothing_is_kept(settings: Settings, database_url: str, device: UUID) -> None:
    house = build_house(settings)
    turn = answer(house, replace(arrival(device), address_class=HERE))
    assert turn.left is None
    assert run(database_url, "SELECT rate_at FROM connections") == [(None,)]
    assert run(database_url, RATES) == []
    house.close()


# ---- registration, and the sweep


def test_a_place_is_taken_while_there_is_one(house: House, database_url: str) -> None:
    assert HERE is not None
    bucket = Bucket(6, 2)

    def take(after_s: float) -> float | None:
        return rates.take(house.database, HERE, bucket, now=START + timedelta(seconds=after_s))

    assert [take(0), take(0)] == [None, None]
    assert take(0) == pytest.approx(10)
    assert take(8) == pytest.approx(10), "never less than what comes back one at a time"
    assert take(10) is None


def test_of_many_at_once_so_many_take_a_place_as_there_are(house: House) -> None:
    bucket = Bucket(1, 5)
    with ThreadPoolExecutor(6) as pool:
        took = list(pool.map(lambda _: rates.take(house.database, HERE or "", bucket), range(12)))
    assert took.count(None) == 5


def test_full_buckets_are_swept_a_few_at_a_time(house: House, database_url: str) -> None:
    run(
        database_url,
        "INSERT INTO address_rates (class, rate_at) SELECT n::text, now() + (n - 4.5) * interval '1 hour' FROM generate_series(1, 8) n",
    )
    with in_the_way(database_url, "SELECT FROM address_rates WHERE class = '1' FOR UPDATE"):
        assert rates.clean_up(house.database, 2) == 2
    assert [rates.clean_up(house.database, 2) for _ in range(2)] == [2, 0]
    assert run(database_url, "SELECT count(*) FROM address_rates") == [(4,)]


# ---- what is told of it


@given(
    per_minute=st.integers(1, 1_000),
    burst=st.integers(1, 50),
    sent=st.lists(st.floats(0, 30), max_size=80),
)
def test_what_is_told_is_what_is_taken(per_minute: int, burst: int, sent: list[float]) -> None:
    """The model of a bucket: what is left is how many more are taken now, and after Retry-After one is."""
    bucket, now, until = Bucket(per_minute, burst), 0.0, 0.0
    charge = Charge(bucket, None, None)
    for pause in sent:
        now += pause
        ahead = Ahead(max(0.0, until - now), 0.0)
        room = ahead.device_s <= bucket.room_s
        remaining = left(charge, ahead, charged=False).remaining
        if abs(ahead.device_s - bucket.room_s) > 1e-6:
            assert (remaining > 0) == room
        if room:
            assert left(charge, ahead, charged=True).remaining == max(0, remaining - 1)
            until = max(until, now) + bucket.every_s
        else:
            wait_s = exceeded(charge, ahead).retry_after_s
            assert wait_s is not None
            assert max(0.0, until - now - wait_s) <= bucket.room_s
            assert max(0.0, until - now - (wait_s - 1)) > bucket.room_s or wait_s == 1


def test_the_tighter_bucket_is_told() -> None:
    charge = Charge(Bucket(60, 20), Bucket(600, 200), HERE)
    assert left(charge, Ahead(0, 0), charged=True) == Left(20, 19, 1)
    assert left(charge, Ahead(0, 19.9), charged=True) == Left(200, 0, 20)
    assert exceeded(charge, Ahead(19.5, 20.5)).retry_after_s == 1
    assert exceeded(charge, Ahead(24.5, 20.5)).retry_after_s == 6


def test_rates_of_zero_are_none() -> None:
    assert Rates.of((0, 20), (0, 200)) == Rates()
    assert Rates().charge(HERE) is None
    assert Rates.of((0, 20), (600, 200)).charge(None) is None
    assert Rates.of((60, 20), (600, 200)).charge(None) == Charge(Bucket(60, 20), None, None)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.250", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("2001:db8:0:1100::1", "2001:db8:0:11ff::2", True),
        ("2001:db8:0:1100::1", "2001:db8:0:1200::1", False),
        ("::ffff:203.0.113.7", "203.0.113.9", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_class_is_a_network(one: str, other: str, same: bool) -> None:
    of_one, of_other = address_class(one), address_class(other)
    assert of_one is not None
    assert len(of_one) == 32
    assert (of_one == of_other) == same


@pytest.mark.parametrize("host", [None, "", "testclient", "203.0.113", "999.1.1.1", "%", "a" * 10_000])
def test_what_is_no_address_is_of_no_class(host: str | None) -> None:
    assert address_class(host) is None
