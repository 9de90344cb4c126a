"""What OpenAPI tells of the calls: that it is true, complete, and the same as the file."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from core.access import Role
from core.errors import LatchkeyError
from core.house import House
from dev.openapi import FILE, told
from functions import shapes, shapes_sharing
from functions.app import build_app
from functions.describing import ANSWERS, known
from functions.examples import EXAMPLES
from functions.following import LINKS

OPENAPI: dict[str, Any] = json.loads(FILE.read_text())
CALLS = {
    f"{method.upper()} {path}": operation
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
}


def test_the_file_is_what_the_application_tells() -> None:
    assert FILE.read_text() == told(), "docs/openapi.json is stale: make openapi"


def test_no_setting_changes_what_the_calls_are(house: House) -> None:
    assert build_app(house, one_at_a_time=False).openapi() == OPENAPI


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_told_completely(call: str) -> None:
    operation = CALLS[call]
    assert call in ANSWERS, "write down what it answers, in functions/describing.py"
    assert operation["summary"]
    answers = operation["responses"]
    assert "default" not in answers
    assert {"414", "431", "500"} <= set(answers)
    if "/v1/admin/" in call:
        assert {"401", "404", "503"} <= set(answers)
    elif "/v1/" in call:
        assert {"400", "401", "503"} <= set(answers)
        assert operation["security"][0] == {"token": []}
        assert any(p["name"] == "X-Device-ID" and p["required"] for p in operation["parameters"])
    for status, answer in answers.items():
        assert "X-Request-ID" in answer["headers"]
        if int(status) >= 400:
            (content,) = answer["content"].items()
            assert content[0] == "application/problem+json"
            assert content[1]["examples"]
    if "requestBody" in operation:
        assert {"413", "422"} <= set(answers)
        for media_type, content in operation["requestBody"]["content"].items():
            if media_type == "application/json":
                schema = OPENAPI["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
                assert schema["additionalProperties"] is False
                assert schema["examples"]


def test_links_are_of_calls_that_are_there() -> None:
    assert set(LINKS) <= set(CALLS)


def test_every_code_that_is_told_is_one_of_ours() -> None:
    for codes in ANSWERS.values():
        for code in codes:
            assert code.isdigit() or issubclass(known(code), LatchkeyError)


def test_links_lead_to_calls_that_are_there() -> None:
    operations = {
        operation["operationId"]: {p["name"] for p in operation["parameters"]}
        for operation in CALLS.values()
        if "parameters" in operation
    }
    for statuses in LINKS.values():
        for links in statuses.values():
            for link in links.values():
                names = {name.rpartition(".")[2] for name in link["parameters"]}
                assert names <= operations[link["operationId"]]


def test_references_lead_somewhere() -> None:
    def references(value: Any) -> Any:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "$ref":
                    yield inner
                else:
                    yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in set(references(OPENAPI)):
        place: Any = OPENAPI
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_of_its_shape(name: str) -> None:
    shape: type[BaseModel] = getattr(shapes, name, None) or getattr(shapes_sharing, name)
    shape.model_validate(EXAMPLES[name])


@pytest.mark.parametrize("name", ["BeginBody", "EditBody", "EnterBody", "MemberBody", "LinkBody", "JoinBody"])
def test_an_example_of_a_body_is_of_its_shape(name: str) -> None:
    shape: type[BaseModel] = getattr(shapes_sharing, name)
    (example,) = shape.model_json_schema()["examples"]
    shape.model_validate(example)


def test_roles_are_told_as_they_are() -> None:
    told_of = OPENAPI["components"]["schemas"]["MemberBody"]["properties"]["role"]["enum"]
    assert set(told_of) == set(Role)
