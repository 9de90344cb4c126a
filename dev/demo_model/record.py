"""Every request that came, and what was answered: for the assertions of tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dev.http.record import Record

__all__ = ["Record", "Recorded", "without_secrets"]

_SECRETS = frozenset({"x-api-key", "authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Recorded:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case; secrets kept out."""
    body: Any
    """The parsed body, or None where it was no JSON object."""
    status: int
    """The status answered; 0 where nothing was."""
    refusal: str | None
    """The message of a refused request."""
    fault: str | None
    """The fault that was done to it."""
    request_id: str


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: "(kept out)" if name in _SECRETS else value for name, value in headers.items()}
