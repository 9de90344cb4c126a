"""What bench/cold.py has the target's Python do with the zip: python -I -S bench/in_the_zip.py FOLDER WHAT ...

It runs with nothing on its path but the zip and the standard library, so it imports nothing of the bench. It prints JSON.
"""

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # At run time its import would be a part of what is measured.
    from typing import Any

_BEGUN = time.perf_counter()

EVENT = {
    "version": "2.0",
    "routeKey": "$default",
    "rawQueryString": "",
    "requestContext": {"requestId": "bench", "stage": "$default"},
    "isBase64Encoded": False,
}


def nothing() -> None:
    """What Python itself costs."""


def base() -> None:
    import fastapi
    import mangum
    import psycopg2
    import sqlalchemy

    assert len({fastapi, mangum, psycopg2, sqlalchemy}) == 4


def base_with_the_dialect() -> None:
    base()
    import sqlalchemy.dialects.postgresql.psycopg2 as dialect

    assert dialect


def handler(name: str = "api") -> None:
    __import__(f"functions.{name}")


def turn(device: str) -> None:
    """The first turn of a process, and one more when it is warm."""
    handler()
    imported = time.perf_counter()
    _answered(device)
    first = time.perf_counter()
    modules = list(sys.modules)
    _answered(device)
    _tell(imported - _BEGUN, first - imported, time.perf_counter() - first, modules)


def same_imports() -> None:
    """All that the process of a first turn has loaded by its end, and nothing else. Their names come on stdin."""
    import importlib
    import json

    names = json.load(sys.stdin)
    handler()
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            # Some packages make modules of their own, which nobody can ask for by name.
            continue
    _tell(time.perf_counter() - _BEGUN)


def warm(device: str, rounds: str) -> None:
    """A look at a conversation, less what the database took; and a bare route that is told the same and says the same."""
    import gc
    import json
    import statistics

    handler()
    api = sys.modules["functions.api"]
    event = _event("GET", "/v1/session", device)
    answer = api.handler(event, None)
    assert answer["statusCode"] == 200, answer
    bare = _bare(json.loads(answer["body"]))
    assert bare(event, None)["body"] == answer["body"]
    gc.freeze()
    took: dict[str, list[float]] = {"ours": [], "database": [], "bare": []}
    waited = _database_timed()
    for _ in range(int(rounds)):
        waited.clear()
        begun = time.perf_counter()
        api.handler(event, None)
        ours = time.perf_counter() - begun
        took["ours"].append(ours - sum(waited))
        took["database"].append(sum(waited))
        begun = time.perf_counter()
        bare(event, None)
        took["bare"].append(time.perf_counter() - begun)
    _tell({name: statistics.median(times) for name, times in took.items()})


def _database_timed() -> list[float]:
    """How long each statement took, from when the driver is given it until it has the answer."""
    import psycopg2.extensions as extensions

    waited: list[float] = []
    waits = extensions.get_wait_callback()
    assert waits is not None

    def timed(connection: object) -> None:
        begun = time.perf_counter()
        waits(connection)
        waited.append(time.perf_counter() - begun)

    extensions.set_wait_callback(timed)
    return waited


def _bare(body: dict[str, object]) -> "Any":
    """The least that FastAPI can be asked for the same: a device's ID read and checked, an object answered."""
    from typing import Annotated
    from uuid import UUID

    from fastapi import FastAPI, Header
    from fastapi.responses import JSONResponse
    from mangum import Mangum

    app = FastAPI(openapi_url=None)

    async def look(x_device_id: Annotated[UUID, Header()]) -> JSONResponse:
        assert x_device_id
        return JSONResponse(body)

    app.get("/v1/session", response_model=None)(look)
    return Mangum(app, lifespan="off", text_mime_types=["application/json"])


def _answered(device: str) -> None:
    import json

    event = _event("POST", "/v1/turns", device) | {"body": json.dumps({"message": "Hello, my name is Ada."})}
    answer = sys.modules["functions.api"].handler(event, None)
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["status"] == "completed", answer["body"]


def _event(method: str, path: str, device: str) -> dict[str, object]:
    headers = {"host": "api.example.com", "x-device-id": device, "content-type": "application/json"}
    http = {"method": method, "path": path, "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
    context = {"requestId": "bench", "stage": "$default", "http": http}
    return EVENT | {"rawPath": path, "headers": headers, "requestContext": context}


def _tell(*told: object) -> None:
    import json

    print(json.dumps(told))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    globals()[sys.argv[2]](*sys.argv[3:])
