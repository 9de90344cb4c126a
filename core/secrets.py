"""Secrets: those settings that AWS Secrets Manager holds, read at first use and kept for a while.

What can go wrong, and why it does no harm: *Secrets Manager is away, or hangs.* What was read stays, and it is asked again soon, not by
each request; and who has something that will do waits for it a moment only, for the gateway counts that too. *A secret is changed.* It is read again when its time is over, and at once when the database refuses what is known. *It is
changed to what makes no sense.* What was read stays, and the log says what is wrong. Nothing of what it holds is ever said: not
in a log, not in an error.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from core.attendance import on_a_thread
from core.aws import ON_THE_WAY, client, translated
from core.errors import QuotesNobody, SecretsUnavailable
from core.settings import secret_variables
from core.store.database import reason

_log = logging.getLogger(__name__)

# Between two tries where the first failed, or where what it gave was refused.
_AGAIN_S: Final = 10.0
# How long a request waits for it where what was read before will do; and where there is nothing yet.
_LONGEST_S: Final = 2.0
_LONGEST_AT_FIRST_S: Final = 8.0
_LONGEST_NAME: Final = 60


class _NoObject(QuotesNobody):
    def __init__(self) -> None:
        super().__init__("what it holds is no JSON object of variables")


class Secrets:
    """By the clock on the wall: a function that was frozen, or restored from a snapshot, wakes long after."""

    def __init__(self, secret_id: str, ttl_s: float, *, clock: Callable[[], float] = time.time) -> None:
        self._id = secret_id
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, str] | None = None
        self._not_taken: frozenset[str] = frozenset()
        # When it was asked last, and how long what came of that is good for.
        self._asked_at = float("-inf")
        self._good_for_s = 0.0
        self._why: BaseException | None = None

    def read(self) -> Mapping[str, str]:
        """Its variables; the same object as long as nothing in it has changed."""
        return self._after(lambda: self._good_for_s)

    def refresh(self) -> Mapping[str, str]:
        """For whom what is known was refused: asked at once, but once in a while only."""
        return self._after(lambda: min(self._good_for_s, _AGAIN_S))

    def _after(self, good_for_s: Callable[[], float]) -> Mapping[str, str]:
        with self._lock:
            # A clock that was set back does not make what is known good for longer.
            if not 0 <= self._clock() - self._asked_at < good_for_s():
                self._ask()
            if self._known is None:
                raise SecretsUnavailable from self._why
            return self._known

    def _ask(self) -> None:
        try:
            found = self._taken(_variables(self._fetch()))
            self._good_for_s = self._ttl_s
            if found != self._known:
                self._known = MappingProxyType(found)
        except (SecretsUnavailable, _NoObject) as error:
            self._good_for_s = min(_AGAIN_S, self._ttl_s)
            stays = "nobody can be served" if self._known is None else "what was read before stays"
            self._why = error.__cause__ or error
            _log.error("the secret %s cannot be read, so %s: %s", self._id, stays, reason(self._why))
        self._asked_at = self._clock()

    def _fetch(self) -> Any:
        longest_s = _LONGEST_AT_FIRST_S if self._known is None else _LONGEST_S
        # On a thread, for how long the name of a server is looked for has no limit that could be set.
        asked = on_a_thread(self._asked, "secrets")
        try:
            return asked.result(longest_s)
        except TimeoutError as error:
            raise SecretsUnavailable from error

    def _asked(self) -> Any:
        with translated(SecretsUnavailable):
            return (
                client("secretsmanager", ON_THE_WAY).get_secret_value(SecretId=self._id).get("SecretString")
            )

    def _taken(self, given: dict[str, str]) -> dict[str, str]:
        known = secret_variables()
        not_taken = frozenset(given.keys() - known)
        if not_taken - self._not_taken:
            names = ", ".join(sorted(name[:_LONGEST_NAME] for name in not_taken))
            _log.warning(
                "the secret %s holds what is no secret setting, and is not taken: %s", self._id, names
            )
        self._not_taken = not_taken
        return {name: value for name, value in given.items() if name in known}


def _variables(text: Any) -> dict[str, str]:
    """A value that is an object may be written as one, not only as a string of JSON."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        # The error would quote it.
        raise _NoObject from None
    if not isinstance(found, dict):
        raise _NoObject
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
        if value is not None
    }
