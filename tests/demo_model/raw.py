"""Plain HTTP to the demo model, and the smallest requests that it takes."""

import http.client
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

HEADERS = {"x-api-key": "secret-key", "anthropic-version": "2023-06-01", "content-type": "application/json"}
TOOL: Json = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> Json:
        parsed: Json = json.loads(self.data)
        return parsed

    @property
    def error(self) -> Json:
        error: Json = self.body["error"]
        return error

    @property
    def events(self) -> list[Json]:
        lines = self.data.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


class Raw:
    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(
        self,
        body: Json | bytes,
        *,
        path: str = "/v1/messages",
        method: str = "POST",
        without: str = "",
        **extra: str,
    ) -> Answer:
        """`extra` are headers, with "_" for "-"; `without` names one to leave out."""
        headers = {**HEADERS, **{name.replace("_", "-"): value for name, value in extra.items()}}
        headers.pop(without, None)
        self._http.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
        response = self._http.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def ask(*messages: Json | str, **fields: Any) -> Json:
    """A request; plain strings are what the user and the assistant say in turn. None takes a field away."""
    said = [
        {"role": "assistant" if index % 2 else "user", "content": message}
        if isinstance(message, str)
        else message
        for index, message in enumerate(messages or ("Hi",))
    ]
    body = {"model": "claude-test", "max_tokens": 1000, "messages": said, **fields}
    return {name: value for name, value in body.items() if value is not None}


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **fields: Any) -> Json:
    return {"type": "text", "text": words, **fields}


def tool_use(id: str = "toolu_1", **fields: Any) -> Json:
    return {"type": "tool_use", "id": id, "name": "get_weather", "input": {"city": "Oslo"}, **fields}


def tool_result(id: str = "toolu_1", content: Any = "Sunny.", **fields: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **fields}


def called(*after: Json, before: Json | None = None, **fields: Any) -> Json:
    """A conversation in which the assistant called a tool, and what came after."""
    return ask("Weather?", before or assistant(tool_use()), *after, tools=[TOOL], **fields)
