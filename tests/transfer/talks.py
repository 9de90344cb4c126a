"""Conversations for tests of export and erasure: long talks at random, with everything in them that a conversation can have."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from core.content import dump
from core.digest import digest
from core.house import House, build_house
from core.ids import DeviceId
from core.settings import Settings
from core.store import approvals
from core.store.claims import Arrival
from dev.demo_model import DemoModel, Reply
from tests.conversations import answer, arrival
from tests.databases import run
from tests.images import image
from tests.prove.agents import EFFECTS, SAYS, roster
from tests.prove.script import INWARD, REPLIES

ODD = 'half a face: \ud83d, a NUL: \0, a line\'s end: \u2028, "quotes" \\ and \U0001f600'


@contextmanager
def talking_house(settings: Settings, url: str) -> Iterator[House]:
    """With tools that ask, todos, agents that hand over, and a window that is soon full."""
    run(url, EFFECTS)
    house = build_house(replace(settings, compact_at_messages=12), roster(url, lambda _: None))
    yield house
    house.close()


def talk(house: House, model: DemoModel, device: UUID, seed: int, turns: int = 10) -> None:
    chance = random.Random(seed)
    for number in range(turns):
        _script(model, chance)
        arrived = _arrival(device, chance, f"{seed}-{number}")
        if number == 0:
            model.replies.clear()
            arrived = arrival(device, SAYS["approval"], f"{seed}-{number}")
        turn = answer(house, arrived)
        while turn.status == "waiting" and (number == 0 or chance.random() < 0.8):
            asked = approvals.pending(house.database, DeviceId(device))
            calls = [approval for approval in asked if approval.kind == "call"]
            if not calls:
                break
            house.turns.decide(
                DeviceId(device),
                calls[0].id,
                yes=seed % 2 == 0,
                shown=calls[0].input_digest,
                wait_s=20,
            )
            turn = house.turns.look(DeviceId(device), turn.id, 20)
        if turn.status == "waiting":
            house.turns.cancel(DeviceId(device), turn.id)
    model.replies.clear()


def _script(model: DemoModel, chance: random.Random) -> None:
    model.replies.clear()
    script = [chance.choice([*REPLIES, *INWARD]) for _ in range(chance.choice([0, 0, 0, 1, 2]))]
    if chance.random() < 0.2:
        script = [
            Reply(
                [
                    {"type": "thinking", "thinking": "Well."},
                    {"type": "text", "text": "Odd: " + ODD.replace("\ud83d", "")},
                ]
            )
        ]
    for reply in script:
        model.replies.add(reply)


def _arrival(device: UUID, chance: random.Random, key: str) -> Arrival:
    arrived = arrival(device, chance.choice([*SAYS.values(), ODD.replace("\0", "")]), key)
    arrived = replace(arrived, body_digest=digest(arrived.content))
    if chance.random() < 0.2:
        content = [*json.loads(arrived.content), image()]
        arrived = replace(arrived, content=dump(content))
    return arrived


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def normal(file: bytes) -> list[dict[str, Any]]:
    """The lines with their IDs by the order in which they appear, and without the digest over them."""
    seen: dict[str, str] = {}
    parsed = []
    for line in file.decode().split("\n")[:-1]:
        plain = _ID.sub(lambda found: seen.setdefault(found[0], f"id {len(seen)}"), line)
        fields = json.loads(plain)
        fields.pop("digest", None)
        parsed.append(fields)
    return parsed
