"""Wiring: the one house of a function, built from the environment and the secrets.

Without SECRETS_ID the environment says everything, and the house is built at once, so that what is wrong shows when the function is
started. With it the secrets are read at the first use and not before: a snapshot of the process (SnapStart) must not hold them. When
they have changed the house is built anew; if they have become wrong the one that stands stays, and the log says what is wrong.
"""

import gc
import logging
import random
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from core.agents.refusal import WrongDeclaration
from core.errors import LatchkeyError, SettingsWrong
from core.secrets import Secrets
from core.settings import Settings, SettingsError, read_settings
from functions import invocations, metrics

if TYPE_CHECKING:
    from core.house import House

_log = logging.getLogger(__name__)

Check = Callable[[Settings], None]


def _nothing_more(settings: Settings) -> None:
    """What is accepted as a setting will do."""


class Wiring:
    def __init__(self, environ: Mapping[str, str] | None = None, check: Check = _nothing_more) -> None:
        self._environ = environ
        self._check = check
        # Of these, those that are no secrets hold for the life of the process.
        self.settings = read_settings(environ)
        self._lock = threading.Lock()
        self._house: House | None = None
        self._is_warm = False
        # What the house was built from, or could not be built from.
        self._given: Mapping[str, str] | None = None
        self._wrong: SettingsWrong | None = None
        self._secrets: Secrets | None = None
        if self.settings.secrets_id is None:
            self._house = self._built(self.settings)
        else:
            self._secrets = Secrets(self.settings.secrets_id, self.settings.secrets_ttl_s)
            from core.house import judge

            judge(self.settings, is_whole=False)

    def house(self) -> "House":
        """To be asked for by each request: it may be another one than a moment ago."""
        with self._lock:
            if self._secrets is not None:
                self._furnish(self._secrets.read() if self._wrong is None else self._secrets.refresh())
            if self._house is None:
                raise SettingsWrong(self._wrong.detail if self._wrong else None)
            if not self._is_warm:
                self._is_warm = True
                # Those that wake from one snapshot would else all draw the same numbers, and pause alike.
                random.seed()
                self._house.warm()
            return self._house

    def close(self) -> None:
        if self._house is not None:
            self._house.close()

    def _furnish(self, given: Mapping[str, str]) -> None:
        if given is self._given:
            return
        self._given = given
        try:
            built = self._built(read_settings(self._environ, secrets=given))
        except (SettingsError, WrongDeclaration) as problem:
            _log.error("with what the secret %s holds: %s", self.settings.secrets_id, problem)
            self._wrong = _for_a_client(problem)
            return
        before, self._house, self._wrong, self._is_warm = self._house, built, None, False
        if before is None:
            # As at the end of each handler's module: what was loaded for it (boto3) stays as long as the process.
            gc.freeze()
        else:
            before.close()

    def _built(self, settings: Settings) -> "House":
        from core.house import build_house

        newer_url = (
            None if self._secrets is None else partial(self._newer_database_url, self._secrets, settings)
        )
        house = build_house(
            settings,
            tell=metrics.stint,
            newer_database_url=newer_url,
            lost=partial(metrics.count, "WakesLost"),
            warms=False,
        )
        try:
            self._check(settings)
        except SettingsError:
            house.close()
            raise
        return house

    def _newer_database_url(self, secrets: Secrets, settings: Settings) -> str | None:
        """The request that found out is served by it, the next one by a house of its own."""
        try:
            newer = read_settings(self._environ, secrets=secrets.refresh()).database_url
        except (SettingsError, LatchkeyError):
            return None
        return None if newer is None or newer == settings.database_url else newer.reveal()


def wired(function: str, check: Check = _nothing_more) -> Wiring:
    """For a function, at its import: what is wrong is said in plain lines, and ends the process. A wrong tool shows while its agent
    is imported, so that is done in here.
    """
    try:
        wiring = Wiring(check=check)
    except (SettingsError, WrongDeclaration) as problem:
        sys.exit(f"latchkey  {problem}")
    invocations.begin(wiring.settings.stage, function)
    return wiring


def _for_a_client(problem: Exception) -> SettingsWrong:
    variables = problem.variables if isinstance(problem, SettingsError) else []
    if not variables:
        return SettingsWrong()
    return SettingsWrong(
        f"The service is not set up as it must be, and its log says more: {', '.join(variables)}."
    )
