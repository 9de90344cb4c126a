"""Whose it is: lists, places, and namespaces that do not see each other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import TooManySessions
from core.ids import new_session_id
from core.sessions.manager import SessionManager
from core.sessions.session import NewSession
from tests.sessions.desks import Desk, OnDesks, assert_gone, manager, opened, user
from tests.sessions.rigs import Rig


class Users(OnDesks):
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
