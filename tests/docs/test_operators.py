"""What docs/operators.md has one send goes through, in that order, and is answered as the page says."""

import re
import shlex
from dataclasses import replace
from typing import Any
from uuid import uuid4

from starlette.testclient import TestClient

from core.house import build_house
from core.operating import Outcome
from core.settings import Secret, Settings
from functions.app import build_app
from tests.docs.pages import blocks, page
from tests.operators import TOKEN

PAGE = page("operators.md")
LINES = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("curl ")]
OUTCOMES = ["nothing_to_clear", "nothing_to_cancel", "nothing_to_cancel", "nothing_to_recover"]


def sent(client: TestClient, line: str, session: str) -> Any:
    """As curl would."""
    given = {"$TOKEN": TOKEN, "$AT": "/v1/admin", "$ID": session}
    for name, value in given.items():
        line = line.replace(name, value)
    words = shlex.split(line)[1:]
    assert words.pop(0) == "-s"
    asked: dict[str, str] = {}
    while len(words) > 1:
        name = words.pop(0)
        asked[name] = words.pop(0)
    assert asked.keys() <= {"-X", "-H", "-d"}
    header, _, value = asked["-H"].partition(": ")
    return client.request(asked.get("-X", "GET"), words[0], headers={header: value}, content=asked.get("-d"))


def test_each_line_goes_through(settings: Settings) -> None:
    house = build_house(replace(settings, admin_token=Secret(TOKEN)))
    with TestClient(build_app(house, one_at_a_time=False)) as client:
        said = client.post(
            "/v1/turns", json={"message": "Hello"}, headers={"X-Device-ID": str(uuid4())}
        ).json()
        answers = [sent(client, line, said["session_id"]) for line in LINES]
    house.close()
    assert [answer.status_code for answer in answers] == [200] * 7 + [204], [a.text for a in answers]
    found, *looks = (answer.json() for answer in answers[:3])
    assert [one["session_id"] for one in found["items"]] == [said["session_id"]]
    assert [look["id"] for look in looks] == [said["session_id"]] * 2
    assert [answer.json()["outcome"] for answer in answers[3:7]] == OUTCOMES


def test_every_outcome_is_explained() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {str(outcome) for outcome in Outcome} <= told
