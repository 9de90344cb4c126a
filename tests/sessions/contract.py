"""What every storage of sessions must do. A storage of somebody else's keeps it too if it passes this with a `rig` of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.errors import NoSuchSession, SessionTaken, SessionTooLarge, TooManySessions
from core.ids import SessionId, UserId, new_session_id
from core.sessions.manager import SessionManager
from core.sessions.session import NewSession, Session
from core.sessions.storage import NewRecord, Stamp
from tests.sessions.rigs import Rig

TTL_S = 1000
# What a read may find already passed of the time and not extend.
SLACK_S = 60


@dataclass
class Desk:
    tickets: int = 0
    seen: list[str] = field(default_factory=list)
    at: datetime | None = None


def opened(session: Session[Desk]) -> Session[Desk]:
    return session.with_state(replace(session.state, tickets=session.state.tickets + 1))


def user() -> UserId:
    return UserId(uuid4())


def manager(rig: Rig, **given: Any) -> SessionManager[Desk]:
    return SessionManager(Desk, rig.another(), **{"namespace": "desk", "default_ttl_s": TTL_S, **given})


class Contract:
    @pytest.fixture
    def desks(self, rig: Rig) -> SessionManager[Desk]:
        return manager(rig)

    # ---- created

    def test_what_is_created_is_read_again_whole(self, desks: SessionManager[Desk]) -> None:
        owner, org = user(), uuid4()
        made = desks.create(
            user_id=owner,
            org_id=org,
            workspace_path="/srv/work",
            mcp_client_ids=["calendar", "mail"],
            system_prompt="You are at the desk.",
            metadata={"theme": "dark", "depth": {"n": [1, 2.5, None, True]}},
            state=Desk(2, ["a"], datetime(2026, 11, 21, 9, tzinfo=UTC)),
        )
        assert desks.get(made.id) == made
        assert (made.user_id, made.org_id, made.workspace_path) == (owner, org, "/srv/work")
        assert made.mcp_client_ids == ("calendar", "mail")
        assert made.system_prompt == "You are at the desk."
        assert made.metadata == {"theme": "dark", "depth": {"n": [1, 2.5, None, True]}}
        assert made.state == Desk(2, ["a"], datetime(2026, 11, 21, 9, tzinfo=UTC))
        assert (made.version, made.ttl_s) == (1, TTL_S)
        assert made.created_at == made.last_active_at
        assert made.expires_at == made.created_at + timedelta(seconds=TTL_S)

    def test_what_is_left_out_has_its_defaults(self, desks: SessionManager[Desk]) -> None:
        one, other = desks.create(), desks.create()
        assert one.id != other.id
        assert one.state == Desk()
        assert (one.user_id, one.org_id, one.workspace_path, one.system_prompt) == (None, None, None, None)
        assert (one.mcp_client_ids, one.metadata) == ((), {})

    def test_an_existing_one_is_returned_and_not_overwritten(self, desks: SessionManager[Desk]) -> None:
        owner = user()
        first = desks.create(user_id=owner, state=Desk(1), metadata={"first": True})
        again = desks.create(first.id, user_id=owner, state=Desk(9), metadata={}, ttl_s=5)
        assert again == first
        assert desks.get(first.id) == first

    def test_another_users_is_not_given_away(self, desks: SessionManager[Desk]) -> None:
        mine = desks.create(user_id=user(), state=Desk(1))
        with pytest.raises(SessionTaken):
            desks.create(mine.id, user_id=user())
        assert desks.get(mine.id) == mine

    def test_of_many_who_create_one_id_at_once_all_get_the_same(self, desks: SessionManager[Desk]) -> None:
        wanted, owner = new_session_id(), user()
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n: desks.create(wanted, user_id=owner, state=Desk(n)), range(16)))
        assert {one.state.tickets for one in made} == {made[0].state.tickets}
        assert desks.list_for_user(owner) == [wanted]

    # ---- updated

    def test_an_update_changes_state_and_metadata_and_counts(self, desks: SessionManager[Desk]) -> None:
        made = desks.create(metadata={"kept": 1})
        changed = desks.update(made.id, lambda s: opened(s).with_metadata(theme="dark"))
        assert changed.state.tickets == 1
        assert changed.metadata == {"kept": 1, "theme": "dark"}
        assert (changed.version, changed.epoch) == (2, made.epoch)
        assert desks.get(made.id) == changed

    def test_what_was_given_with_it_can_be_changed_too(self, desks: SessionManager[Desk]) -> None:
        made, org = desks.create(), uuid4()
        changed = desks.update(
            made.id,
            lambda s: replace(
                s, org_id=org, workspace_path="/new", mcp_client_ids=("x",), system_prompt="Another."
            ),
        )
        assert desks.get(made.id) == changed
        assert (changed.org_id, changed.workspace_path) == (org, "/new")
        assert (changed.mcp_client_ids, changed.system_prompt) == (("x",), "Another.")

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda s: replace(s, user_id=user()),
            lambda s: replace(s, id=new_session_id()),
            lambda s: replace(s, version=7),
            lambda s: replace(s, ttl_s=7),
            lambda s: s.state,
            lambda _: None,
        ],
    )
    def test_whose_it_is_cannot_be_changed(
        self, desks: SessionManager[Desk], wrong: Callable[[Session[Desk]], Any]
    ) -> None:
        made = desks.create(user_id=user())
        with pytest.raises(TypeError):
            desks.update(made.id, wrong)
        assert desks.get(made.id) == made

    def test_an_update_that_changes_nothing_writes_nothing_and_extends_the_time(
        self, rig: Rig, desks: SessionManager[Desk]
    ) -> None:
        made = desks.create()
        rig.pass_time(TTL_S * 0.8)
        same = desks.update(made.id, lambda s: s.with_state(Desk()))
        assert (same.version, same.state) == (1, Desk())
        rig.pass_time(TTL_S * 0.8)
        assert desks.exists(made.id)

    def test_a_state_that_is_changed_in_its_place_is_a_change(self, desks: SessionManager[Desk]) -> None:
        made = desks.create()

        def note(session: Session[Desk]) -> Session[Desk]:
            session.state.seen.append("x")
            return session

        assert desks.update(made.id, note).version == 2
        assert desks.update(made.id, note).state.seen == ["x", "x"]

    def test_what_the_change_raises_goes_through_and_nothing_is_written(
        self, desks: SessionManager[Desk]
    ) -> None:
        made = desks.create()

        def fails(session: Session[Desk]) -> Session[Desk]:
            session.state.seen.append("x")
            raise ZeroDivisionError("of the team's own")

        with pytest.raises(ZeroDivisionError, match="of the team's own"):
            desks.update(made.id, fails)
        assert desks.get(made.id) == made

    def test_of_two_managers_neither_loses_an_update(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        other, made = manager(rig), desks.create()
        tries = []

        def meanwhile(session: Session[Desk]) -> Session[Desk]:
            tries.append(session.state.tickets)
            if len(tries) == 1:
                other.update(made.id, opened)
            return opened(session)

        assert desks.update(made.id, meanwhile).state.tickets == 2
        assert tries == [0, 1]
        assert other.update(made.id, opened).state.tickets == 3

    def test_many_at_once_lose_nothing(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        managers, made = [desks, manager(rig)], desks.create()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: managers[n % 2].update(made.id, opened), range(80)))
        found = desks.get(made.id)
        assert found is not None
        assert (found.state.tickets, found.version) == (80, 81)

    def test_a_session_that_is_deleted_under_an_update_stays_deleted(
        self, rig: Rig, desks: SessionManager[Desk]
    ) -> None:
        made, other = desks.create(), manager(rig)

        def meanwhile(session: Session[Desk]) -> Session[Desk]:
            other.delete(made.id)
            return opened(session)

        with pytest.raises(NoSuchSession):
            desks.update(made.id, meanwhile)
        assert desks.get(made.id) is None
        assert not desks.exists(made.id)

    def test_an_update_of_what_is_not_there_says_so(self, desks: SessionManager[Desk]) -> None:
        with pytest.raises(NoSuchSession):
            desks.update(new_session_id(), opened)

    def test_an_update_with_a_key_is_stored_once(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        made = desks.create()
        for _ in range(3):
            assert desks.update(made.id, opened, key="call-1").state.tickets == 1
        manager(rig).update(made.id, opened, key="call-2")
        assert manager(rig).update(made.id, opened, key="call-1").state.tickets == 2

    # ---- deleted, and begun anew

    def test_what_is_deleted_is_gone_everywhere(self, desks: SessionManager[Desk]) -> None:
        owner = user()
        made, kept = desks.create(user_id=owner), desks.create(user_id=owner)
        assert desks.delete(made.id)
        assert_gone(desks, made)
        assert desks.list_for_user(owner) == [kept.id]
        assert not desks.delete(made.id)

    def test_many_are_deleted_of_which_some_are_there(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        there = [desks.create().id for _ in range(3)]
        kept, elsewhere = desks.create(), manager(rig, namespace="other").create()
        assert desks.delete_many([there[0], new_session_id(), there[1], there[0], elsewhere.id]) == 2
        assert [desks.exists(one) for one in there] == [False, False, True]
        assert desks.exists(kept.id)
        assert manager(rig, namespace="other").exists(elsewhere.id)
        assert desks.delete_many([]) == 0

    def test_an_id_that_is_made_again_begins_anew_with_a_larger_epoch(
        self, desks: SessionManager[Desk]
    ) -> None:
        first = desks.update(desks.create(state=Desk(5)).id, opened)
        desks.delete(first.id)
        second = desks.create(first.id)
        assert (second.state, second.version) == (Desk(), 1)
        assert second.epoch > first.epoch
        assert desks.get(first.id) == second

    def test_a_late_write_of_the_predecessor_meets_nothing(
        self, rig: Rig, desks: SessionManager[Desk]
    ) -> None:
        first = desks.create()
        desks.delete(first.id)
        second = desks.create(first.id)
        late = rig.storage.swap(
            "desk", first.id, Stamp(first.epoch, 1), '{"state":{"tickets":99},"updates":[]}'
        )
        assert not late.done
        assert late.stands is not None
        assert late.stands.epoch == second.epoch
        assert desks.get(first.id) == second

    # ---- time

    def test_what_is_past_its_time_is_gone_everywhere_at_once(
        self, rig: Rig, desks: SessionManager[Desk]
    ) -> None:
        owner = user()
        made, longer = desks.create(user_id=owner), desks.create(user_id=owner, ttl_s=2 * TTL_S)
        rig.pass_time(TTL_S - 30)
        assert desks.exists(made.id)
        rig.pass_time(30)
        assert_gone(desks, made)
        assert desks.list_for_user(owner) == [longer.id]
        assert not rig.storage.swap("desk", made.id, Stamp(made.epoch, 1), "{}").done
        assert not desks.delete(made.id)

    def test_one_whose_time_was_over_begins_anew_with_a_larger_epoch(
        self, rig: Rig, desks: SessionManager[Desk]
    ) -> None:
        owner, heir = user(), user()
        first = desks.create(user_id=owner, state=Desk(5))
        rig.pass_time(TTL_S + 1)
        second = desks.create(first.id, user_id=heir)
        assert second.epoch > first.epoch
        assert (second.state, second.version, second.user_id) == (Desk(), 1, heir)
        assert (desks.list_for_user(owner), desks.list_for_user(heir)) == ([], [first.id])

    @pytest.mark.parametrize("uses", ["get", "update"])
    def test_using_it_extends_its_time(self, rig: Rig, desks: SessionManager[Desk], uses: str) -> None:
        made = desks.create(user_id=user())
        for _ in range(4):
            rig.pass_time(TTL_S * 0.6)
            found = desks.get(made.id) if uses == "get" else desks.update(made.id, opened)
            assert found is not None
        left_s = desks.get_ttl(made.id)
        assert left_s is not None
        assert TTL_S - SLACK_S <= left_s <= TTL_S
        assert desks.list_for_user(made.user_id or user()) == [made.id]
        rig.pass_time(TTL_S)
        assert_gone(desks, made)

    def test_asking_whether_it_is_there_does_not(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        made = desks.create(user_id=user())
        rig.pass_time(TTL_S * 0.6)
        assert desks.exists(made.id)
        assert desks.list_for_user(made.user_id or user()) == [made.id]
        assert desks.get_ttl(made.id) == pytest.approx(TTL_S * 0.4, abs=20)
        rig.pass_time(TTL_S * 0.4)
        assert_gone(desks, made)

    def test_reads_extend_nothing_where_they_are_told_not_to(self, rig: Rig) -> None:
        desks = manager(rig, extend_on_read=False)
        made = desks.create()
        rig.pass_time(TTL_S * 0.6)
        assert desks.get(made.id) is not None
        assert desks.get_ttl(made.id) == pytest.approx(TTL_S * 0.4, abs=20)
        assert desks.update(made.id, lambda s: s).version == 1
        assert desks.get_ttl(made.id) == pytest.approx(TTL_S, abs=20)

    def test_a_reader_is_told_when_it_is_gone(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        made = desks.create()
        rig.pass_time(TTL_S * 0.6)
        found = desks.get(made.id)
        assert found is not None
        assert (found.expires_at - made.expires_at).total_seconds() >= (
            TTL_S * 0.6 - SLACK_S if rig.redis is None else 0
        )
        assert found.version == 1

    def test_the_time_of_one_can_be_set(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        made = desks.create(user_id=user(), ttl_s=100)
        assert desks.get_ttl(made.id) == pytest.approx(100, abs=20)
        rig.pass_time(50)
        assert desks.set_ttl(made.id, 500)
        assert desks.get_ttl(made.id) == pytest.approx(500, abs=20)
        rig.pass_time(450)
        found = desks.get(made.id)
        assert found is not None
        assert found.ttl_s == 500
        assert desks.list_for_user(made.user_id or user()) == [made.id]
        assert desks.set_ttl(made.id, 10)
        rig.pass_time(10)
        assert_gone(desks, made)

    def test_setting_the_time_loses_no_update(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        made, other = desks.create(), manager(rig)
        tries = []

        def meanwhile(session: Session[Desk]) -> Session[Desk]:
            tries.append(session.ttl_s)
            if len(tries) == 1:
                other.set_ttl(made.id, 77)
            return opened(session)

        changed = desks.update(made.id, meanwhile)
        assert (changed.ttl_s, changed.state.tickets) == (77, 1)

    def test_the_default_time_can_be_read_and_set(self, desks: SessionManager[Desk]) -> None:
        before = desks.create()
        assert desks.default_ttl_s == TTL_S
        desks.default_ttl_s = 77
        assert (desks.default_ttl_s, desks.create().ttl_s) == (77, 77)
        assert desks.get_ttl(before.id) == pytest.approx(TTL_S, abs=20)

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, True, 31_536_001, "60"])
    def test_a_time_that_is_none_is_refused(self, desks: SessionManager[Desk], wrong: Any) -> None:
        made = desks.create()
        with pytest.raises(ValueError):
            desks.set_ttl(made.id, wrong)
        with pytest.raises(ValueError):
            desks.create(ttl_s=wrong)
        with pytest.raises(ValueError):
            desks.default_ttl_s = wrong

    # ---- a user's sessions

    def test_a_users_are_listed_oldest_first_and_nobody_elses(self, desks: SessionManager[Desk]) -> None:
        one, other = user(), user()
        mine = [desks.create(user_id=one).id for _ in range(5)]
        theirs = desks.create(user_id=other).id
        desks.create()
        desks.update(mine[0], opened)
        assert desks.list_for_user(one) == mine
        assert desks.list_for_user(other) == [theirs]
        assert desks.list_for_user(user()) == []

    def test_a_user_has_so_many_and_no_more(self, rig: Rig) -> None:
        desks, owner = manager(rig, most_per_user=3), user()
        made = [desks.create(user_id=owner) for _ in range(3)]
        with pytest.raises(TooManySessions):
            desks.create(user_id=owner)
        assert desks.create(made[0].id, user_id=owner) == made[0]
        desks.create(user_id=user())
        desks.create()
        manager(rig, namespace="other", most_per_user=3).create(user_id=owner)
        assert len(desks.list_for_user(owner)) == 3

    def test_what_is_deleted_or_gone_leaves_its_place(self, rig: Rig) -> None:
        desks, owner = manager(rig, most_per_user=2), user()
        first = desks.create(user_id=owner, ttl_s=50)
        second = desks.create(user_id=owner)
        desks.delete(second.id)
        third = desks.create(user_id=owner)
        rig.pass_time(50)
        fourth = desks.create(user_id=owner)
        assert desks.list_for_user(owner) == [third.id, fourth.id]
        with pytest.raises(TooManySessions):
            desks.create(first.id, user_id=owner)

    def test_fewer_than_before_count_those_that_are_there(self, rig: Rig) -> None:
        owner = user()
        for _ in range(5):
            manager(rig).create(user_id=owner)
        with pytest.raises(TooManySessions):
            manager(rig, most_per_user=3).create(user_id=owner)

    def test_of_many_at_once_no_more_than_so_many_are_made(self, rig: Rig) -> None:
        desks, owner = manager(rig, most_per_user=5), user()
        gate = threading.Barrier(8)

        def create(_: int) -> bool:
            gate.wait()
            try:
                desks.create(user_id=owner)
            except TooManySessions:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(create, range(16)))
        assert made.count(True) == 5
        assert len(desks.list_for_user(owner)) == 5

    # ---- many at once

    def test_many_are_stored_of_which_some_are_there(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        owner = user()
        there = desks.create(user_id=owner, state=Desk(7))
        taken = desks.create(user_id=user())
        gone = desks.create(user_id=owner, ttl_s=10)
        rig.pass_time(10)
        new = new_session_id()
        stored = desks.store_many(
            [
                NewSession(id=there.id, user_id=owner, state=Desk(1)),
                NewSession(id=new, user_id=owner, state=Desk(2), metadata={"n": 2}, ttl_s=50),
                NewSession(id=taken.id, user_id=owner),
                NewSession(id=gone.id, user_id=owner, state=Desk(3)),
                NewSession(state=Desk(4)),
                NewSession(id=new, user_id=owner, state=Desk(5)),
            ]
        )
        assert [one and one.state.tickets for one in stored] == [7, 2, None, 3, 4, 2]
        assert stored[1] == desks.get(new)
        assert stored[1] is not None
        assert (stored[1].ttl_s, stored[1].metadata) == (50, {"n": 2})
        assert set(desks.list_for_user(owner)) == {there.id, new, gone.id}
        assert desks.get(taken.id) is not None
        assert desks.store_many([]) == []

    def test_of_many_those_are_stored_that_find_a_place(self, rig: Rig) -> None:
        desks, owner, other = manager(rig, most_per_user=2), user(), user()
        news: list[NewSession[Desk]] = [
            NewSession(user_id=one) for one in (owner, other, owner, owner, other, other)
        ]
        stored = desks.store_many(news)
        assert [one is not None for one in stored] == [True, True, True, False, True, False]
        assert len(desks.list_for_user(owner)) == len(desks.list_for_user(other)) == 2

    # ---- apart

    def test_namespaces_do_not_see_each_other(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        other, owner = manager(rig, namespace="other"), user()
        mine = desks.create(user_id=owner, state=Desk(1))
        assert_gone(other, mine)
        assert other.list_for_user(owner) == []
        theirs = other.create(mine.id, user_id=owner, state=Desk(2))
        other.update(mine.id, opened)
        assert desks.get(mine.id) == mine
        other.delete(theirs.id)
        assert desks.get(mine.id) == mine

    # ---- cleaned up

    def test_cleaning_up_leaves_what_is_there(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        owner, other = user(), user()
        gone = [desks.create(user_id=owner, ttl_s=10) for _ in range(3)] + [desks.create(ttl_s=10)]
        kept = desks.create(user_id=owner)
        theirs = desks.create(user_id=other)
        rig.pass_time(20)
        assert desks.cleanup_expired(other) == 0
        assert desks.cleanup_expired(owner) == 3
        assert desks.cleanup_expired(owner) == 0
        desks.cleanup_expired()
        assert desks.cleanup_expired() == 0
        assert desks.list_for_user(owner) == [kept.id]
        assert desks.list_for_user(other) == [theirs.id]
        assert [desks.get(one.id) for one in gone] == [None] * 4

    # ---- what is in it

    @pytest.mark.parametrize(
        "said",
        [
            "",
            "\0",
            "\ud800",
            "a\udfffb\ud83d",
            "😀 ünï",
            "\\u0000",
            '"quoted" \\ ',
            "\ufffd\ufffe\u2028",
            "'; --",
        ],
    )
    def test_whatever_is_said_comes_back_as_it_was(self, desks: SessionManager[Desk], said: str) -> None:
        made = desks.create(
            state=Desk(seen=[said]), metadata={said: [said], "deep": {said: said}}, system_prompt=said
        )
        changed = desks.update(made.id, lambda s: s.with_state(replace(s.state, seen=[*s.state.seen, said])))
        found = desks.get(made.id)
        assert found == changed
        assert found is not None
        assert found.state.seen == [said, said]
        assert found.metadata == {said: [said], "deep": {said: said}}
        assert found.system_prompt == said

    def test_numbers_come_back_as_they_were(self, desks: SessionManager[Desk]) -> None:
        numbers = [2**53, 2**63 + 1, -(10**30), 1e-7, 0.1, -0.0, 1e300]
        found = desks.get(desks.create(metadata={"n": numbers}, state=Desk(2**60)).id)
        assert found is not None
        assert repr(found.metadata["n"]) == repr(numbers)
        assert found.state.tickets == 2**60

    def test_a_session_may_be_so_large_and_no_larger(self, desks: SessionManager[Desk]) -> None:
        made = desks.create(metadata={"much": "x" * 250_000})
        found = desks.get(made.id)
        assert found is not None
        assert len(found.metadata["much"]) == 250_000
        with pytest.raises(SessionTooLarge, match="262144"):
            desks.update(made.id, lambda s: s.with_metadata(more="x" * 13_000))
        with pytest.raises(SessionTooLarge):
            desks.create(metadata={"much": "ü" * 140_000})
        assert desks.get(made.id) == found

    # ---- itself

    def test_it_says_that_it_is_well(self, rig: Rig, desks: SessionManager[Desk]) -> None:
        desks.create()
        health = desks.health()
        assert health.is_well
        assert health.kind == rig.storage.kind

    def test_a_refused_swap_gives_back_what_stands_there(self, rig: Rig) -> None:
        made = rig.storage.create("desk", NewRecord(uuid4(), None, '{"a":1}', 60), 1)
        first = rig.storage.swap("desk", made.session_id, made.stamp, '{"a":2}')
        assert first.done
        assert first.stands is not None
        assert (first.stands.version, first.stands.body) == (2, '{"a":2}')
        second = rig.storage.swap("desk", made.session_id, made.stamp, '{"a":3}')
        assert not second.done
        assert second.stands == first.stands
        assert not rig.storage.swap("desk", UUID(int=1), made.stamp, "{}").done

    def test_who_waited_for_another_is_given_what_that_one_left(self, rig: Rig) -> None:
        """Of many who swap the same version one is done, and the others see what it wrote: not what they read before."""
        made = rig.storage.create("desk", NewRecord(uuid4(), None, "0", 60), 1)
        gate = threading.Barrier(4)

        def swap(number: int) -> tuple[bool, str | None]:
            gate.wait()
            swapped = rig.storage.swap("desk", made.session_id, made.stamp, str(number))
            return swapped.done, None if swapped.stands is None else swapped.stands.body

        with ThreadPoolExecutor(4) as pool:
            swapped = list(pool.map(swap, range(1, 5)))
        (won,) = [body for done, body in swapped if done]
        assert [body for _, body in swapped] == [won] * 4


def assert_gone(desks: SessionManager[Desk], session: Session[Desk]) -> None:
    one: SessionId = session.id
    assert desks.get(one) is None
    assert not desks.exists(one)
    assert desks.get_ttl(one) is None
    assert not desks.set_ttl(one, 60)
    with pytest.raises(NoSuchSession):
        desks.update(one, opened)
