"""What is exported and imported is the same conversation: the same file but for IDs, and the model goes on with it."""

import json
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from core.access import Caller
from core.house import House
from core.ids import DeviceId, SessionId
from core.settings import Settings
from core.transfer.exporting import part
from core.transfer.importing import Terms, import_session
from core.transfer.lines import KINDS
from dev.demo_model import DemoModel
from tests.conversations import answer, arrival, conversations, refusals
from tests.databases import run
from tests.transfer.talks import ODD, normal, talk, talking_house


@pytest.fixture
def talking(settings: Settings, database_url: str) -> Iterator[House]:
    with talking_house(settings, database_url) as house:
        yield house


def exported(
    house: House, device: UUID, session_id: UUID | None = None, most_bytes: int = 4_000_000
) -> bytes:
    caller = Caller(DeviceId(device), session_id=None if session_id is None else SessionId(session_id))
    found = part(house.database, caller, None, most_bytes)
    content = found.content
    while found.next is not None:
        found = part(house.database, caller, found.next, most_bytes)
        assert 0 < len(found.content) <= most_bytes
        content += found.content
    return content


def imported(
    house: House, device: UUID, file: bytes, *, trusted: bool = True, key: str | None = None
) -> UUID:
    terms = Terms(5_000_000, 1_800, trusted)
    return import_session(house.database, Caller(DeviceId(device)), file.split(b"\n")[:-1], terms, key)


def beside(url: str, session_id: UUID) -> None:
    run(
        url,
        "INSERT INTO application_sessions (session_id, namespace, user_id, epoch, version, body, idle_ttl) "
        "SELECT id, 'notes', user_id, 7, 3, %s, 600 FROM conversation_states WHERE id = %s",
        json.dumps({"note": ODD}),
        str(session_id),
    )


def roll_back(url: str) -> None:
    """As if the last turn had been rolled back, and came from elsewhere."""
    run(
        url,
        "UPDATE messages SET left_out = true, origin_session = gen_random_uuid(), origin_seq = 7 WHERE turn_id = "
        "(SELECT turn_id FROM messages ORDER BY seq DESC LIMIT 1) AND seq > (SELECT COALESCE(max(upto_seq), 0) FROM compactions)",
    )


# Together these talks hold all that a conversation can have; see below.
SEEDS = (0, 1, 4, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_export_and_import_and_export_give_the_same_file(
    talking: House, database_url: str, model: DemoModel, device: UUID, seed: int
) -> None:
    print("seed", seed)
    talk(talking, model, device, seed)
    (session_id,) = conversations(database_url)
    beside(database_url, session_id)
    roll_back(database_url)
    first = exported(talking, device)
    another = uuid4()
    copy = imported(talking, another, first)
    second = exported(talking, another, copy)
    assert normal(second) == normal(first)
    assert copy != session_id
    assert answer_in(talking, another, copy, "Good day to you").status == "completed"
    assert refusals(model) == []


def answer_in(house: House, device: UUID, session_id: UUID, said: str):  # type: ignore[no-untyped-def]
    run(
        house.settings.database_url.reveal().replace("+psycopg2", ""),  # type: ignore[union-attr]
        "UPDATE connections SET session_id = %s WHERE device_id = %s",
        str(session_id),
        str(device),
    )
    return answer(house, arrival(device, said, str(uuid4())))


def test_the_talks_hold_all_that_a_conversation_can_have(
    talking: House, database_url: str, model: DemoModel
) -> None:
    """Else the test above proves little."""
    found: set[str] = set()
    texts = ""
    for seed in SEEDS:
        device = uuid4()
        talk(talking, model, device, seed)
        file = exported(talking, device)
        found |= {line["kind"] for line in normal(file)}
        texts += file.decode()
    assert {*KINDS, "session", "end"} - found <= {"revision", "application_session"}
    for odd in ("\\ud83d", "\\u0000", '"image"', '"thinking"', '"status":"denied"'):
        assert odd in texts, odd


@pytest.mark.parametrize("most_bytes", [97, 1_000, 4_096, 100_000])
def test_parts_put_together_are_the_file(
    talking: House, model: DemoModel, device: UUID, most_bytes: int
) -> None:
    talk(talking, model, device, 1)
    assert exported(talking, device, most_bytes=most_bytes) == exported(talking, device)
