"""The pages, and /web, serve the files of the list, and nothing else that lies on the disk."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from functions.routes.web import FILES, POLICY

FOLDER = Path(__file__).parents[2] / "functions" / "web"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}


@pytest.mark.parametrize("packed", ["gzip, br", "identity"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_it_is_and_only_if_it_has_changed(
    client: TestClient, name: str, packed: str
) -> None:
    accepted = {"Accept-Encoding": packed}
    served = client.get(f"/web/{name}", headers=accepted)
    assert (served.status_code, served.content) == (200, (FOLDER / name).read_bytes())
    assert served.headers["content-type"] == TYPES[Path(name).suffix]
    assert (served.headers.get("content-encoding"), served.headers["vary"]) == (
        "gzip" if "gzip" in packed else None,
        "Accept-Encoding",
    )
    tag = served.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(f"/web/{name}", headers={**accepted, "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(f"/web/{name}", headers={**accepted, "If-None-Match": '"other"'}).status_code == 200
    assert client.head(f"/web/{name}").content == b""


def test_every_file_that_a_browser_may_have_is_on_the_list() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert files - {"package.json"} == set(FILES)


def test_the_page_is_at_the_root_under_a_policy_without_exceptions(client: TestClient) -> None:
    page = client.get("/")
    assert (page.status_code, page.content) == (200, (FOLDER / "chat.html").read_bytes())
    assert page.headers["content-security-policy"] == POLICY
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-cache"
    assert not {"unsafe-inline", "unsafe-eval", "*", "data:", "http:", "https:"} & set(POLICY.split())
    assert client.get("/web/chat.html").headers["content-security-policy"] == POLICY
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.headers["content-security-policy"]) == (304, POLICY)


@pytest.mark.parametrize("page", [name for name in FILES if name.endswith(".html")])
def test_no_page_has_a_script_or_a_style_of_its_own(page: str) -> None:
    """The policy would refuse it, in a browser that knows policies."""
    text = (FOLDER / page).read_text()
    assert "<style" not in text
    assert " style=" not in text
    assert " on" not in text.replace("\n", " ").split("<body>")[0]
    assert text.count("<script") == text.count('<script type="module" src="/web/')


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_script_makes_nodes_of_text(name: str) -> None:
    text = (FOLDER / name).read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("):
        assert way not in text


def test_the_chat_page_names_all_its_modules_so_that_one_round_trip_fetches_them() -> None:
    text = (FOLDER / "chat.html").read_text()
    folders = ("talk/",)
    modules = {name for name in FILES if name.startswith(folders)}
    client = {"latchkey.js", "events.js", "device.js", "wire.js"}
    named = {
        line.split('href="/web/')[1].split('"')[0]
        for line in text.splitlines()
        if 'rel="modulepreload"' in line
    }
    assert modules | client <= named <= set(FILES)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "package.json",
        "..%2fapp.py",
        "../app.py",
        "%2e%2e/app.py",
        "latchkey.js/",
        "LATCHKEY.JS",
        "%00",
        "talk",
        "talk/",
        "talk/../latchkey.js%2f",
        "talk//node.js",
        "./talk/node.js%00",
    ],
)
def test_nothing_else_is(client: TestClient, path: str) -> None:
    problem = client.get(f"/web/{path}")
    assert (problem.status_code, problem.json()["code"]) == (404, "not_found")
