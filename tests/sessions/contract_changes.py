"""Created, changed, deleted: nothing is lost, and nothing comes back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from core.errors import NoSuchSession, SessionTaken
from core.ids import new_session_id
from core.sessions.manager import SessionManager
from core.sessions.session import Session
from core.sessions.storage import Stamp
from tests.sessions.desks import TTL_S, Desk, OnDesks, assert_gone, manager, opened, user
from tests.sessions.rigs import Rig


class Changes(OnDesks):
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
