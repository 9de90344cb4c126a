"""What somebody is in a conversation, in all ways in which they can have come to it; and that all that is read agrees."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from uuid import UUID, uuid4

import pytest

from core.access import Caller, Role
from core.entrance import enter
from core.errors import (
    ApprovalNotFound,
    DatabaseConflict,
    DeviceBarred,
    LatchkeyError,
    RoleTooSmall,
    SessionNotFound,
    TurnNotFound,
)
from core.house import House, build_house
from core.ids import DeviceId, SessionId, TurnId
from core.settings import Settings
from core.store import approvals, audit, endings, locks, messages, sessions, todos, turns, visitors
from core.store.database import Database
from core.store.locks import LockTtl
from dev.demo_model import DemoModel
from tests.agents import Workshop
from tests.conversations import answer, arrival, everything, idle, in_the_way, wait_for_locks, waiting
from tests.databases import run
from tests.guests import enter as place
from tests.guests import holder, known, let_in, link, put_out, sign_out

RELATIONS = ("its own", "owner", "editor", "viewer", "a stranger")
ORGANISATIONS = ("of none", "of theirs", "of another")
LINKS = ("no link", "viewer", "editor", "expired", "revoked", "of another conversation")
TTL = LockTtl(60, None, 60)


def expected(relation: str, organisation: str, given: str) -> Role | None:
    """The model, in words as plain as can be."""
    if organisation == "of another":
        return None
    if relation == "its own":
        return Role.OWNER
    ways = [role for role in (relation, given) if role in list(Role)]
    return max(map(Role, ways), key=list(Role).index, default=None)


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    built = build_house(settings, Workshop().roster())
    yield built
    built.close()


@pytest.fixture
def talk(house: House, device: UUID) -> UUID:
    session = answer(house, arrival(device)).session_id
    assert session is not None
    return session


@pytest.mark.parametrize("state", ["alive", "past its time", "a part of another", "not there"])
def test_what_somebody_is_in_it_in_all_ways(
    house: House, database_url: str, device: UUID, talk: UUID, state: str
) -> None:
    other = answer(house, arrival(uuid4())).session_id
    assert other is not None
    secrets = {
        "viewer": link(database_url, talk, "viewer"),
        "editor": link(database_url, talk, "editor"),
        "expired": link(database_url, talk, "editor", ttl=timedelta(seconds=-1)),
        "revoked": link(database_url, talk, "editor", is_revoked=True),
        "of another conversation": link(database_url, other, "editor"),
    }
    people = {relation: known(database_url) for relation in RELATIONS if relation != "its own"}
    for relation in ("owner", "editor", "viewer"):
        let_in(database_url, talk, relation, people[relation])
    if state == "past its time":
        idle(database_url, talk)
    if state == "a part of another":
        run(
            database_url,
            "UPDATE conversation_states SET merged_into = %s WHERE id = %s",
            str(other),
            str(talk),
        )
    asked = talk if state != "not there" else uuid4()
    tried = 0
    for organisation in ORGANISATIONS:
        theirs = str(uuid4())
        run(database_url, "UPDATE users SET org_id = %s", theirs)
        org = {"of none": None, "of theirs": theirs, "of another": str(uuid4())}[organisation]
        run(database_url, "UPDATE conversation_states SET org_id = %s", org)
        for relation, given in product(RELATIONS, LINKS):
            asks = device if relation == "its own" else people[relation]
            who = Caller(DeviceId(asks), session_id=SessionId(asked))
            if given != "no link":
                who = holder(asks, asked, secrets[given])
            found = visitors.find(house.database, who)
            held_as = None if found is None else found.held_as
            due = expected(relation, organisation, given) if state == "alive" else None
            assert held_as == due, (relation, organisation, given)
            tried += 1
    assert tried == 90


@pytest.mark.parametrize("relation", ["its own", "editor"])
def test_a_device_is_what_its_token_says_or_barred(
    house: House, database_url: str, device: UUID, talk: UUID, relation: str
) -> None:
    asks = device if relation == "its own" else let_in(database_url, talk, "editor")
    run(database_url, "UPDATE connections SET token_version = 3 WHERE device_id = %s", str(asks))
    run(
        database_url,
        "UPDATE users u SET subject = 'me' FROM connections c WHERE c.user_id = u.id AND c.device_id = %s",
        str(asks),
    )

    def may(**shown: object) -> bool:
        who = Caller(DeviceId(asks), session_id=SessionId(talk), **shown)  # type: ignore[arg-type]  # its own fields
        assert (visitors.find(house.database, who) is None) == visitors.is_barred(house.database, who)
        return visitors.find(house.database, who) is not None

    assert may()
    assert may(token_version=3)
    assert may(token_version=3, subject="me")
    assert not may(token_version=2)
    assert not may(token_version=4)
    assert not may(subject="you")
    sign_out(database_url, asks)
    assert not may()
    assert not may(token_version=3)
    assert not may(token_version=4), "signed out, whatever it shows"


def test_a_device_that_nobody_knows_may_come_by_a_link_where_no_token_is_asked_for(
    house: House, database_url: str, talk: UUID
) -> None:
    secret, unknown = link(database_url, talk, "viewer"), uuid4()
    found = visitors.find(house.database, holder(unknown, talk, secret))
    assert found is not None
    assert (found.held_as, found.user_id) == (Role.VIEWER, None)
    for shown in ({"token_version": 0}, {"subject": "me"}):
        asks = holder(unknown, talk, secret)
        who = Caller(asks.device_id, link=asks.link, session_id=asks.session_id, **shown)
        assert visitors.find(house.database, who) is None
        assert visitors.is_barred(house.database, who)
    assert run(database_url, "SELECT count(*) FROM connections WHERE device_id = %s", str(unknown)) == [(0,)]


# ---- all that is read, and what is written

# By what it takes, and what is missing for whoever may not.
CALLS: dict[str, tuple[Role, type[LatchkeyError], Callable[[House, Caller, TurnId, UUID], object]]] = {
    "look": (Role.VIEWER, SessionNotFound, lambda h, who, _, __: h.current.look(who)),
    "enter": (Role.VIEWER, SessionNotFound, lambda h, who, _, __: enter(h.database, who)),
    "the lock": (Role.VIEWER, SessionNotFound, lambda h, who, _, __: h.sessions.get_session_lock(who)),
    "set the lock": (
        Role.EDITOR,
        SessionNotFound,
        lambda h, who, _, __: h.sessions.set_session_lock(who, "manager"),
    ),
    "clear the lock": (
        Role.EDITOR,
        SessionNotFound,
        lambda h, who, _, __: h.sessions.clear_session_lock(who),
    ),
    "a turn": (Role.VIEWER, TurnNotFound, lambda h, who, turn, _: h.turns.look(who, turn, 0)),
    "decide": (
        Role.OWNER,
        ApprovalNotFound,
        lambda h, who, _, asked: h.turns.decide(who, asked, yes=False),
    ),
    "cancel": (Role.EDITOR, TurnNotFound, lambda h, who, turn, _: h.turns.cancel(who, turn)),
    "end": (Role.OWNER, SessionNotFound, lambda h, who, _, __: h.sessions.end_session(who)),
}


@pytest.mark.parametrize("by", ["membership", "a link", "a link of a device that nobody knows"])
@pytest.mark.parametrize("role", [*Role, None])
def test_each_call_takes_its_role(
    house: House, model: DemoModel, database_url: str, device: UUID, role: Role | None, by: str
) -> None:
    if role is Role.OWNER and by != "membership":
        return
    asked = waiting(house, model, device)
    asks = uuid4() if by == "a link of a device that nobody knows" else known(database_url)
    who = Caller(DeviceId(asks), session_id=asked.session_id)
    if by != "membership":
        secret = link(database_url, asked.session_id, role or "viewer", is_revoked=role is None)
        who = holder(asks, asked.session_id, secret)
    elif role is not None:
        let_in(database_url, asked.session_id, role, asks)
    allowed = []
    before = everything(database_url)
    for what, (needed, missing, call) in CALLS.items():
        if role is not None and role.suffices_for(needed):
            allowed.append(what)
            continue
        with pytest.raises(missing if role is None else RoleTooSmall):
            call(house, who, asked.turn_id, asked.id)
    assert everything(database_url) == before
    for what in allowed:
        CALLS[what][2](house, who, asked.turn_id, asked.id)


def test_whose_device_was_signed_out_is_told_so(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    sign_out(database_url, device)
    before = everything(database_url)
    for _, _, call in CALLS.values():
        for who in (Caller(DeviceId(device)), Caller(DeviceId(device), session_id=asked.session_id)):
            with pytest.raises(DeviceBarred):
                call(house, who, asked.turn_id, asked.id)
    assert everything(database_url) == before


LISTS: dict[str, Callable[[Database, Caller], object]] = {
    "messages after": lambda db, who: messages.page_after(db, who, 0, 9).items,
    "messages before": lambda db, who: messages.page_before(db, who, 99, 9).items,
    "todos": todos.of,
    "approvals": approvals.pending,
    "audit": lambda db, who: audit.page(db, who, 0, 9)[0],
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_hold_what_whoever_asks_may_see(
    house: House, model: DemoModel, database_url: str, device: UUID, what: str
) -> None:
    asked = waiting(house, model, device)
    session = str(asked.session_id)
    run(database_url, "UPDATE approvals SET role = 'editor'")
    run(
        database_url,
        "INSERT INTO todos (session_id, position, content, status) VALUES (%s, 1, 'x', 'pending')",
        session,
    )
    run(database_url, "INSERT INTO audit_log (session_id, actor, action) VALUES (%s, 'me', 'x')", session)
    needs = Role.EDITOR if what in ("approvals", "audit") else Role.VIEWER
    for role in Role:
        member = Caller(DeviceId(let_in(database_url, asked.session_id, role)), session_id=asked.session_id)
        assert bool(LISTS[what](house.database, member)) == role.suffices_for(needs), role
    for role in (Role.VIEWER, Role.EDITOR):
        secret = link(database_url, asked.session_id, role)
        came = holder(uuid4(), asked.session_id, secret)
        assert bool(LISTS[what](house.database, came)) == role.suffices_for(needs), role
    stranger = Caller(DeviceId(known(database_url)), session_id=asked.session_id)
    assert not LISTS[what](house.database, stranger)


def test_a_turn_and_an_approval_are_found_wherever_the_device_is_now(
    house: House, model: DemoModel, database_url: str, device: UUID
) -> None:
    asked = waiting(house, model, device)
    member = let_in(database_url, asked.session_id, "viewer")
    elsewhere = answer(house, arrival(member)).session_id
    assert elsewhere != asked.session_id
    assert turns.find(house.database, DeviceId(member), asked.turn_id) is not None
    assert approvals.find(house.database, DeviceId(member), asked.id) is not None
    put_out(database_url, asked.session_id, member)
    assert turns.find(house.database, DeviceId(member), asked.turn_id) is None
    assert approvals.find(house.database, DeviceId(member), asked.id) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda db, who: locks.set_lock(db, who, "manager", TTL, actor="user", reason=None),
        lambda db, who: locks.clear_lock(db, who, actor="user", reason=None),
        endings.end,
    ],
)
def test_who_is_put_out_while_they_stand_in_line_writes_nothing(
    house: House, database_url: str, talk: UUID, change: Callable[[Database, Caller], object]
) -> None:
    house.sessions.set_session_lock(
        Caller(DeviceId(let_in(database_url, talk, "owner")), session_id=SessionId(talk)), "manager"
    )
    member = let_in(database_url, talk, "owner")
    who = Caller(DeviceId(member), session_id=SessionId(talk))
    with ThreadPoolExecutor(1) as pool:
        with in_the_way(database_url, "UPDATE conversation_states SET version = version + 1") as also:
            changing = pool.submit(change, house.database, who)
            wait_for_locks(database_url, 1)
            also(
                f"DELETE FROM members USING connections c WHERE c.user_id = members.user_id AND c.device_id = '{member}'"
            )
        with pytest.raises(DatabaseConflict):
            changing.result(20)
    assert sessions.find(house.database, who) is None
    assert run(database_url, "SELECT active_agent FROM conversation_states") == [("manager",)]


def test_an_end_says_whether_it_was_there_for_them(
    house: House, database_url: str, device: UUID, talk: UUID
) -> None:
    member = let_in(database_url, talk, "editor")
    place(database_url, talk, member)
    with pytest.raises(RoleTooSmall):
        house.sessions.end_session(DeviceId(member))
    idle(database_url, talk)
    assert house.sessions.end_session(DeviceId(member)) is None, "past its time it is not there, for a member"
    assert house.sessions.end_session(DeviceId(device)) is not None, "its owner clears it away"
    assert house.sessions.end_session(DeviceId(device)) is None
    with pytest.raises(SessionNotFound):
        house.sessions.end_session(Caller(DeviceId(device), session_id=SessionId(talk)))
