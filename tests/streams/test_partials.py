"""What is being said, between the processes: it is believed only as long as it can be true, and nothing is left of it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from core.access import Caller
from core.cache.allowance import Allowance
from core.cache.entry import Entry
from core.deadline import Deadline
from core.following import Look
from core.holding import Holding
from core.house import House, build_house
from core.ids import DeviceId
from core.partials import KEPT_S, Partial, Partials, _body, _key
from core.position import Position
from core.settings import Settings, read_settings
from core.store import partials
from core.store.partials import StoredPartial
from core.telling import tell
from dev.demo_model import DemoModel, Fault, Reply
from dev.http.wire import Connection
from dev.redis import RedisFront
from tests.cleaning import clean
from tests.conversations import answer, arrival, expire, held, taken, until
from tests.databases import run

LONG = "A sentence that takes its time to be said. " * 40


def _words(holding: Holding, text: str, count: int = 10**9) -> Partial:
    hold = holding.hold
    return Partial(hold.epoch, hold.turn_id, hold.message_seq + 1, "manager", count, ((0, text),))


def _stored(holding: Holding, text: str) -> StoredPartial:
    partial = _words(holding, text)
    place = (holding.hold.session_id, partial.epoch, partial.turn_id, partial.seq, partial.agent)
    return StoredPartial(*place, _body(partial))


def _look(house: House, device: UUID, holding: Holding) -> Look:
    caller = Caller(DeviceId(device), session_id=holding.hold.session_id)
    look = house.following.look(caller, holding.hold.turn_id, Position.before(holding.hold.turn_id))
    assert look is not None
    return look


def _texts(house: House, device: UUID, holding: Holding) -> list[str]:
    return [m.text for m in _look(house, device, holding).standing.messages]


@pytest.fixture
def reader(settings: Settings) -> Iterator[House]:
    """Another process."""
    built = build_house(settings)
    yield built
    built.close()


def test_what_a_zombie_says_is_not_written_and_not_shown(
    house: House, reader: House, device: UUID, database_url: str
) -> None:
    zombie = held(house, replace(arrival(device), is_followed=True))
    assert partials.put(house.database, _stored(zombie, "first "))
    assert _texts(reader, device, zombie) == ["first "]
    expire(database_url)
    successor = taken(house, zombie.hold.session_id)
    assert _texts(reader, device, successor) == [], "what stands there is of an epoch that has passed"
    assert not partials.put(house.database, _stored(zombie, "first and more"))
    assert partials.put(house.database, _stored(successor, "mine"))
    assert not partials.put(house.database, _stored(zombie, "first and yet more"))
    assert _texts(reader, device, successor) == ["mine"]


def test_a_zombie_that_still_speaks_in_this_process_is_not_heard(
    house: House, device: UUID, database_url: str
) -> None:
    zombie = held(house, replace(arrival(device), is_followed=True))
    with house.turns.partials.speech(zombie.hold, "manager", lambda: False) as speech:
        speech.say(0, "I am alone")
        assert _texts(house, device, zombie) == ["I am alone"]
        expire(database_url)
        successor = taken(house, zombie.hold.session_id)
        speech.say(0, " and go on")
        assert _texts(house, device, successor) == []


def test_a_partial_of_a_message_that_is_stored_or_of_another_turn_is_not_shown(
    house: House, device: UUID
) -> None:
    holding = held(house, replace(arrival(device), is_followed=True))
    for wrong in (
        {"seq": holding.hold.message_seq},
        {"seq": holding.hold.message_seq + 2},
        {"turn_id": UUID(int=5)},
        {"epoch": 0},
    ):
        partial = replace(_words(holding, "wrong"), **wrong)
        row = (partial.epoch, partial.turn_id, partial.seq, partial.agent, _body(partial))
        stored = StoredPartial(holding.hold.session_id, *row)
        partials.put(house.database, stored)
        assert _texts(house, device, holding) == []
    partials.put(house.database, _stored(holding, "right"))
    assert _texts(house, device, holding) == ["right"]


def test_what_lies_in_redis_is_believed_only_if_it_fits_the_row(
    device: UUID, front: RedisFront, database_url: str
) -> None:
    house = build_house(
        read_settings(
            {
                "DATABASE_URL": database_url,
                "ACCESS_MODE": "open",
                "ANTHROPIC_API_KEY": "demo",
                "UPSTASH_REDIS_REST_URL": front.url,
                "UPSTASH_REDIS_REST_TOKEN": front.token,
            }
        )
    )
    try:
        zombie = held(house, replace(arrival(device), is_followed=True))
        shelf = house.turns.partials.shelf
        assert shelf is not None
        until(lambda: house.keeping.guard is not None and house.keeping.guard.state == "closed")

        def lie(partial: Partial) -> None:
            good_until = datetime.now(UTC) + timedelta(seconds=60)
            entry = Entry(partial.epoch, partial.count, _body(partial), good_until)
            assert shelf.offer(_key(zombie.hold.session_id), entry, Allowance(5))

        lie(_words(zombie, "first", 1))
        assert _texts(house, device, zombie) == ["first"]
        lie(_words(zombie, "first and second", 2))
        lie(_words(zombie, "fir", 1))
        assert _texts(house, device, zombie) == ["first and second"], "an older one changes nothing"
        expire(database_url)
        successor = taken(house, zombie.hold.session_id)
        assert _texts(house, device, successor) == []
        lie(_words(successor, "mine", 3))
        lie(_words(zombie, "first and second and third", 4))
        assert _texts(house, device, successor) == ["mine"]
    finally:
        house.close()


def test_the_end_of_a_turn_leaves_nothing_of_it(
    house: House, model: DemoModel, device: UUID, database_url: str
) -> None:
    model.replies.add(Reply(LONG))
    model.faults.add(Fault.drip(0.005, size=100))
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(answer, house, replace(arrival(device), is_followed=True))
        until(lambda: bool(run(database_url, "SELECT seq FROM partials")))
        assert done.result(40).status == "completed"
    until(lambda: not run(database_url, "SELECT seq FROM partials"))
    assert not house.turns.partials._outlets


def test_a_turn_that_nobody_follows_writes_down_nothing_of_what_is_said(
    house: House, model: DemoModel, device: UUID, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[StoredPartial] = []
    monkeypatch.setattr(partials, "put", lambda _, partial: put.append(partial))
    model.replies.add(Reply(LONG))
    assert answer(house, arrival(device)).status == "completed"
    assert not put


def test_what_its_speaker_left_behind_is_swept(house: House, device: UUID, database_url: str) -> None:
    holding = held(house, replace(arrival(device), is_followed=True))
    partials.put(house.database, _stored(holding, "half"))
    assert partials.clean_up(house.database, 10, kept_s=KEPT_S) == 0
    run(database_url, "UPDATE partials SET updated_at = now() - interval '1 hour'")
    assert clean(house.database) == {"partials": 1}
    assert run(database_url, "SELECT seq FROM partials") == []


@pytest.mark.parametrize("pause_s", [0.01, 30.0])
def test_a_stop_in_the_same_process_is_heard_at_once_and_the_model_is_hung_up_on(
    house: House, model: DemoModel, device: UUID, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    """Also while it says nothing: with the longer pause its next word would come in half a minute."""
    gone: list[bool] = []
    real = Connection.drip

    def drip(self: Connection, *given: object) -> bool:
        went = True
        try:
            went = real(self, *given)  # type: ignore[arg-type]
        except OSError:
            went = False
        gone.append(not went)
        return went

    monkeypatch.setattr(Connection, "drip", drip)
    house.turns.reception = replace(house.turns.reception, lease_ttl_s=60.0)
    model.replies.add(Reply(LONG))
    model.faults.add(Fault.drip(pause_s, size=1200 if pause_s > 1 else 20))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(answer, house, arrival(device, "first", "k"))
        session = None
        assert model.requests.wait_for(1)
        looked = answer(house, arrival(device, "first", "k"), 0)
        session = looked.session_id
        assert session is not None
        until(lambda: bool(house.turns.partials.heard(session)) and _heard(house.turns.partials, session) > 0)
        since = time.monotonic()
        house.turns.cancel(DeviceId(device), looked.id)
        assert first.result(20).status == "cancelled"
        assert time.monotonic() - since < 2.5, "sooner than a beat of its heart"
        until(lambda: gone == [True], 5)


def _heard(said: Partials, session: object) -> int:
    partial = said.heard(session)  # type: ignore[arg-type]
    return 0 if partial is None else sum(len(text) for _, text in partial.blocks)


def test_a_model_that_breaks_off_and_is_asked_again_begins_anew(
    house: House, model: DemoModel, device: UUID
) -> None:
    """Its first words are told to nobody as a part of what it says the second time."""
    gate = threading.Event()
    model.replies.add(Reply("The first try says this"), Reply("And the second that"))
    model.faults.add(Fault.cut(after=6), Fault.gate(gate))
    arrived = replace(arrival(device, "Hi", "k"), is_followed=True)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(answer, house, arrived)
        assert model.requests.wait_for(2)
        looked = answer(house, arrival(device, "Hi", "k"), 0)
        assert looked.session_id is not None
        assert _heard(house.turns.partials, looked.session_id) == 0
        gate.set()
        assert done.result(30).reply == "And the second that"
    caller = Caller(DeviceId(device), session_id=looked.session_id)
    look = house.following.look(caller, looked.id, Position.before(looked.id))
    assert look is not None
    events, _ = tell(Position.before(looked.id), look.standing)
    assert [e.about["text"] for e in events if e.name == "text_delta" and isinstance(e.about, dict)] == [
        "And the second that"
    ]


def test_a_speaker_whose_database_is_away_goes_on_speaking(device: UUID, house: House) -> None:
    """Whatever happens to what is carried out of the process, the turn does not hear of it."""
    holding = held(house, replace(arrival(device), is_followed=True))
    said = Partials(house.database.by(Deadline.after(0)))
    with said.speech(holding.hold, "manager", lambda: True) as speech:
        for _ in range(100):
            speech.say(0, "word ")
        heard = said.heard(holding.hold.session_id)
        assert heard is not None
        assert heard.blocks == ((0, "word " * 100),)
    said.ended(holding.hold)
