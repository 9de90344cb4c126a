"""Kill at every point: SIGKILL before and after each statement, model call and tool call that a function makes; then the
same message comes again, and workers go on with what is left.

The points are enumerated from what the code does: each errand is first run to its end with a list kept of all that it
passes, and then once for each point of that list, by a process that dies there.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID, uuid4

from core.agents.builtin import RESERVED
from tests.databases import run
from tests.prove.agents import SAYS
from tests.prove.errands import Errand, Result, Trap, send
from tests.prove.stage import Scene, Stage

# The most that a call can cost here, in micro-dollars, and less than two of them.
_DEAREST_CALL = 60_000


@dataclass(frozen=True, slots=True)
class Story:
    """What happens before the function that dies, and what that function is asked to do."""

    name: str
    before: Callable[[Scene, UUID], None]
    errand: Callable[[Scene, UUID], Errand]
    # What a user may spend is limited, so each call is reserved for. The one kind of story that hands over.
    hands_over: bool = False
    # How many functions die in it.
    deaths: int = 1


def _say(kind: str, device: UUID) -> Errand:
    return Errand("say", device, f"{SAYS[kind]} ({device.hex[:8]})", key="first")


def _nothing(_: Scene, __: UUID) -> None:
    pass


def _died_at(kind: str, point: str, scene: Scene, device: UUID) -> None:
    """A function before it died at this point, and its lease has run out."""
    scene.send(_say(kind, device), Trap(_number_of(scene, kind, point)))
    scene.expire(scene.session_of(device))


def _number_of(scene: Scene, kind: str, point: str) -> int:
    known = (scene.url, kind)
    if known not in _passed:
        _passed[known] = _points(scene, Story("", _nothing, partial(_said_anew, kind)))
    return _passed[known].index(point) + 1


# Of each scene, what a new message of a kind passes when nothing happens to it: looked at once.
_passed: dict[tuple[str, str], list[str]] = {}


def _queued_behind_a_dead_one(scene: Scene, device: UUID) -> None:
    scene.send(_say("plain", device), Trap(_number_of(scene, "plain", "before model")))
    scene.send(_second(scene, device))
    scene.expire(scene.session_of(device))


def _second(_: Scene, device: UUID, on_busy: str = "queue") -> Errand:
    return Errand("say", device, f"Another thing ({device.hex[:8]})", key="second", on_busy=on_busy, wait_s=0)


def _work(scene: Scene, device: UUID) -> Errand:
    return Errand("work", device, session_id=scene.session_of(device))


def _cancel(scene: Scene, device: UUID) -> Errand:
    (turn_id, _), *_rest = scene.open_turns(scene.session_of(device))
    return Errand("cancel", device, turn_id=UUID(turn_id))


def _decide(scene: Scene, device: UUID) -> Errand:
    ((approval,),) = run(
        scene.url,
        "SELECT id FROM approvals WHERE session_id = %s AND status = 'pending' AND kind = 'call'",
        str(scene.session_of(device)),
    )
    return Errand("decide", device, approval_id=UUID(str(approval)))


def _waiting(scene: Scene, device: UUID) -> None:
    scene.send(_say("approval", device))


def _ended(how: str, scene: Scene, device: UUID) -> None:
    """A conversation that is gone: what was said in it is not looked for."""
    send(scene.place, Errand("say", device, f"Good morning ({device.hex[:8]})", key="before"))
    if how == "a logout":
        send(scene.place, _log_out(scene, device))
    else:
        scene.idle(scene.session_of(device))


def _log_out(_: Scene, device: UUID) -> Errand:
    return Errand("end", device)


def _approved(scene: Scene, device: UUID) -> None:
    _waiting(scene, device)
    scene.send(_decide(scene, device))


def stories() -> Iterator[Story]:
    for kind in SAYS:
        yield Story(
            f"a new message: {kind}", _nothing, partial(_said_anew, kind), hands_over=kind == "handover"
        )
    for kind in ("read", "idempotent", "once"):
        for point in (
            "before model",
            "after steps.reply",
            f"after tool {_tool(kind)}",
            "after steps.results",
        ):
            yield Story(
                f"the retry after {kind} died {point}",
                partial(_died_at, kind, point),
                partial(_said_anew, kind),
            )
    yield Story("the worker after a dead one, with a message queued", _queued_behind_a_dead_one, _work)
    for on_busy in ("queue", "merge", "latest", "interrupt", "rollback", "steer"):
        yield Story(
            f"a message to a busy conversation: {on_busy}",
            partial(_died_at, "once", "after steps.reply"),
            partial(_second, on_busy=on_busy),
        )
    for how in ("a logout", "its time was over"):
        yield Story(f"a new message after {how}", partial(_ended, how), partial(_said_anew, "once"))
    yield Story("a logout", partial(_died_at, "once", "after steps.reply"), _log_out)
    yield Story("a cancel", partial(_died_at, "once", "after steps.reply"), _cancel)
    yield Story("a cancel of a turn that waits", _waiting, _cancel)
    yield Story("a decision", _waiting, _decide)
    yield Story("the worker after a decision", _approved, _work)
    yield from _handovers()


def _handovers() -> Iterator[Story]:
    """Between reserving for a call and making it; between the wish and its commit; after that, in the hands of the other."""
    for point in (
        "after spending.reserve",
        "after steps.reply",
        "after steps.results",
        "after tool book_appointment",
    ):
        before = partial(_died_at, "handover", point)
        yield Story(
            f"the retry after a handover died {point}",
            before,
            partial(_said_anew, "handover"),
            hands_over=True,
            deaths=2,
        )
    died = partial(_died_at, "handover", "after steps.reply")
    yield Story("a cancel of a handover", died, _cancel, hands_over=True, deaths=2)


def _said_anew(kind: str, _: Scene, device: UUID) -> Errand:
    return _say(kind, device)


def _tool(kind: str) -> str:
    return {"read": "lookup_weather", "idempotent": "transfer_payment", "once": "send_letter"}[kind]


def _points(scene: Scene, story: Story) -> list[str]:
    """All that the errand passes when nothing happens to it."""
    device = uuid4()
    story.before(scene, device)
    result = scene.send(story.errand(scene, device))
    assert result.problem is None, result.problem
    scene.settle(device)
    return list(result.points)


def kill_everywhere(stage: Stage, *, every: int) -> None:
    """`every`: 1 for each point, n for each n-th."""
    for story in stories():
        with stage.scene("killed at every point, then tried again") as scene, ThreadPoolExecutor(3) as pool:
            if story.hands_over:
                scene.place = scene.place.budgeted()
            points = _points(scene, story)
            numbers = range(1, len(points) + 1, every)
            list(pool.map(partial(_struck, scene, story, points), numbers))
            scene.row.tries += len(numbers)
            scene.check(may_fail=True)
            _check_effects(scene)


def _struck(scene: Scene, story: Story, points: list[str], number: int) -> None:
    device = uuid4()
    story.before(scene, device)
    errand = story.errand(scene, device)
    result = scene.send(errand, Trap(number))
    if result != Result():
        scene.row.found.invalid.append(f"{story.name}: was not killed at {points[number - 1]}: {result}")
    scene.expire(scene.session_of(device))
    if errand.does == "say":
        again = scene.send(replace(errand, wait_s=25 if errand.key == "first" else 0))
        if again.turn is None:
            scene.row.found.lost.append(
                f"{story.name}, killed {points[number - 1]}: the retry got {again.problem}"
            )
    scene.settle(device)
    _check_ended(scene, story, device, points[number - 1])


def _check_ended(scene: Scene, story: Story, device: UUID, point: str) -> None:
    session_id = str(scene.session_of(device))
    for turn, status in scene.open_turns(scene.session_of(device)):
        scene.row.found.lost.append(f"{story.name}, killed {point}: turn {turn} stays {status}")
    for status, error in run(
        scene.url,
        "SELECT status, error ->> 'code' FROM turns WHERE session_id = %s AND status = 'failed'",
        session_id,
    ):
        scene.row.found.lost.append(f"{story.name}, killed {point}: a turn {status} with {error}")
    if story.hands_over:
        _check_handed_over(scene, story, session_id, point)


def _check_handed_over(scene: Scene, story: Story, session_id: str, point: str) -> None:
    """Once, or not at all if it was stopped; and paid for, with no more than was reserved by each that died."""
    ((holder, moves),) = run(
        scene.url,
        "SELECT active_agent, (SELECT count(*) FROM audit_log WHERE session_id = s.id) FROM conversation_states s "
        "WHERE id = %s",
        session_id,
    )
    stopped = story.errand is _cancel
    if (holder, moves) != ("scheduling", 1) and not (stopped and (holder, moves) == (None, 0)):
        scene.row.found.doubled.append(f"{story.name}, killed {point}: {holder} has it after {moves} changes")
    ((spent, cost),) = run(
        scene.url,
        "SELECT p.spent_micros, CAST(s.usage ->> 'cost_micros' AS bigint) FROM conversation_states s "
        "JOIN spending p ON p.id = s.user_id WHERE s.id = %s",
        session_id,
    )
    if not 0 <= spent - (cost or 0) <= story.deaths * _DEAREST_CALL:
        scene.row.found.doubled.append(
            f"{story.name}, killed {point}: {spent} micros are spent, and {cost} are known"
        )


def _check_effects(scene: Scene) -> None:
    """A `once` call that left no mark is on record as unknown or not run; an `idempotent` one left its mark."""
    marks = {(str(session), tool) for session, tool in run(scene.url, "SELECT session_id, tool FROM effects")}
    for session, name, status in run(scene.url, "SELECT session_id, name, status FROM tool_calls"):
        if status == "done" and name not in RESERVED and (str(session), name) not in marks:
            scene.row.found.invalid.append(f"{session}: {name} is said to be done and left no mark")
        if status in ("asked", "ready", "started"):
            scene.row.found.invalid.append(f"{session}: {name} stays {status}")
