"""/web serves the files of the list, and nothing else that lies on the disk."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from functions.routes.web import FILES

FOLDER = Path(__file__).parents[2] / "functions" / "web"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_it_is_and_only_if_it_has_changed(client: TestClient, name: str) -> None:
    served = client.get(f"/web/{name}")
    assert (served.status_code, served.content) == (200, (FOLDER / name).read_bytes())
    assert served.headers["content-type"] == "text/javascript; charset=utf-8"
    tag = served.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(f"/web/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(f"/web/{name}", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head(f"/web/{name}").content == b""


def test_every_script_is_on_the_list() -> None:
    assert {path.name for path in FOLDER.glob("*.js")} == set(FILES)


@pytest.mark.parametrize(
    "path",
    ["", "package.json", "..%2fapp.py", "../app.py", "%2e%2e/app.py", "latchkey.js/", "LATCHKEY.JS", "%00"],
)
def test_nothing_else_is(client: TestClient, path: str) -> None:
    problem = client.get(f"/web/{path}")
    assert (problem.status_code, problem.json()["code"]) == (404, "not_found")
