"""One request to the model: the parsed body and what its headers say about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .refusal import Refusal

MAX_BODY_BYTES = 32 * 1024 * 1024
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Request:
    body: dict[str, Any]
    betas: tuple[str, ...]
    counts_only: bool

    @classmethod
    def read(cls, headers: Mapping[str, str], raw: bytes, *, counts_only: bool) -> Request:
        check_headers(headers)
        betas = tuple(name.strip() for name in headers.get("anthropic-beta", "").split(",") if name.strip())
        return cls(parse_body(raw), betas, counts_only)

    def has_beta(self, *parts: str) -> bool:
        """Whether a beta header names one of these: by a part of its name, as dates come and go."""
        return any(part in beta for beta in self.betas for part in parts)

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True


def check_headers(headers: Mapping[str, str]) -> None:
    if not headers.get("x-api-key", "").strip() and not headers.get("authorization", "").strip():
        raise Refusal("x-api-key header is required", 401)
    if not headers.get("anthropic-version", "").strip():
        raise Refusal("anthropic-version: header is required")


def parse_body(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BODY_BYTES:
        raise too_large()
    try:
        body = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError as deep:
        raise Refusal("The request body is not valid JSON: it is nested too deeply") from deep
    except ValueError as broken:  # bad UTF-8, bad JSON, NaN, an integer of too many digits
        raise Refusal(f"The request body is not valid JSON: {broken}") from broken
    if not isinstance(body, dict):
        raise Refusal("The request body is not valid JSON: Input should be an object")
    if _SURROGATE_ESCAPE.search(raw):
        _refuse_lone_surrogates(body)
    return body


def too_large() -> Refusal:
    return Refusal("Request exceeds the maximum size", 413)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _refuse_lone_surrogates(body: dict[str, Any]) -> None:
    try:
        json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as lone:
        raise Refusal("The request body is not valid JSON: no low surrogate in string") from lone
