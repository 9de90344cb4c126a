"""Gone when nobody uses it, at once and everywhere."""

from typing import Any

import pytest

from core.sessions.manager import SessionManager
from core.sessions.session import Session
from core.sessions.storage import Stamp
from tests.sessions.desks import SLACK_S, TTL_S, Desk, OnDesks, assert_gone, manager, opened, user
from tests.sessions.rigs import Rig


class Times(OnDesks):
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
