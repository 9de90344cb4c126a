"""What becomes of a message while its conversation is busy: every policy in every standing, decided without a database."""

from uuid import UUID

import pytest

from core.ids import TurnId
from core.policies import OnBusy, admission
from core.store.admissions import Admission
from core.store.claims import OpenTurn

BEGUN, FIRST, SECOND = (TurnId(UUID(int=number)) for number in (1, 2, 3))
WAITING = [OpenTurn(FIRST, "queued", None, begun=False), OpenTurn(SECOND, "queued", None, begun=False)]
QUEUE = Admission()
MERGE = Admission(joins=SECOND)
LATEST = Admission(replaces=(FIRST, SECOND))
INTERRUPT = Admission(stops=BEGUN, stop="interrupt")
ROLLBACK = Admission(stops=BEGUN, stop="rollback")
STEER = Admission(joins=BEGUN)


def begun(stop: str | None = None, status: str = "running") -> list[OpenTurn]:
    return [OpenTurn(BEGUN, status, stop, begun=True)]


#                               reject  queue  merge   latest  interrupt  rollback  steer
STANDINGS: dict[str, tuple[list[OpenTurn], tuple[Admission | None, ...]]] = {
    "nothing": ([], (None, QUEUE, QUEUE, QUEUE, QUEUE, QUEUE, QUEUE)),
    "only waiting": (WAITING, (None, QUEUE, MERGE, LATEST, QUEUE, QUEUE, QUEUE)),
    "begun": (begun(), (None, QUEUE, QUEUE, QUEUE, INTERRUPT, ROLLBACK, STEER)),
    "begun and waiting": ([*begun(), *WAITING], (None, QUEUE, MERGE, LATEST, INTERRUPT, ROLLBACK, STEER)),
    "waits for a person": (
        begun(status="waiting"),
        (None, QUEUE, QUEUE, QUEUE, INTERRUPT, ROLLBACK, STEER),
    ),
    "begun and queued again": (
        begun(status="queued"),
        (None, QUEUE, QUEUE, QUEUE, INTERRUPT, ROLLBACK, STEER),
    ),
    "to be cancelled": (begun("cancel"), (None, QUEUE, QUEUE, QUEUE, INTERRUPT, ROLLBACK, QUEUE)),
    "to be interrupted": (begun("interrupt"), (None, QUEUE, QUEUE, QUEUE, QUEUE, ROLLBACK, QUEUE)),
    "to be rolled back": (begun("rollback"), (None, QUEUE, QUEUE, QUEUE, QUEUE, QUEUE, QUEUE)),
}


@pytest.mark.parametrize("standing", STANDINGS)
@pytest.mark.parametrize("on_busy", OnBusy)
def test_each_policy_decides_as_the_table_says(on_busy: OnBusy, standing: str) -> None:
    turns, decided = STANDINGS[standing]
    assert admission(on_busy, turns) == decided[list(OnBusy).index(on_busy)]
