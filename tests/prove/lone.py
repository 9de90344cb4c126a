"""A function that runs one errand after another, told on its standard input: for a process with a clock of its own."""

import json
import sys
import time
from dataclasses import asdict
from typing import Any
from uuid import UUID

from tests.prove.errands import Errand, Place, Points, Result, open_house, run


def main() -> None:
    points = Points(None)
    house = open_house(Place(**json.loads(sys.stdin.readline())), points)
    _say({"time": time.time()})
    for line in sys.stdin:
        errand = Errand(**_with_ids(json.loads(line)))
        try:
            turn = run(house, errand)
            shown = None if turn is None else {"id": str(turn.id), "status": turn.status, "reply": turn.reply}
            _say(asdict(Result(turn=shown)))
        except Exception as error:
            _say(asdict(Result(problem=f"{type(error).__name__}: {error}")))
    house.close()


def _with_ids(given: dict[str, Any]) -> dict[str, Any]:
    ids = ("device", "session_id", "turn_id", "approval_id")
    return {name: UUID(str(value)) if name in ids and value else value for name, value in given.items()}


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
