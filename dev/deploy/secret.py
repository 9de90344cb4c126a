"""The stage's secret in AWS Secrets Manager: one JSON object of those variables of core/settings.py that are secrets.

It is made beforehand, by a person, and is no part of the stack: so it is in no template, in no function's environment, and a stage that
is removed and made again has it still. What is asked for is not shown, and on no command line, where others could read it.
"""

import getpass
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.settings import Settings, SettingsError, read_settings
from dev.deploy.account import Account, said_no
from dev.deploy.stopped import Refused, Stopped
from functions.app import check

VARIABLES: Final = {
    spec.metadata["variable"] for spec in Settings.__dataclass_fields__.values() if spec.metadata["secret"]
}
# What nothing can be answered without.
NEEDED: Final = ("DATABASE_URL", "ANTHROPIC_API_KEY")
_ASKED: Final = {
    "DATABASE_URL": "The address of the database (postgresql://user:password@host:5432/name?sslmode=verify-full&sslrootcert="
    "/var/task/certifi/cacert.pem; for RDS and Supabase another file: docs/postgres.md#tls)",
    "ANTHROPIC_API_KEY": "The key for Claude (https://platform.claude.com)",
}

Ask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class StagesSecret:
    account: Account

    @property
    def _id(self) -> str:
        return self.account.stage.secret

    def look(self) -> list[str] | None:
        """The names of what it holds, once that is known to do. None: there is no such secret.

        Whoever deploys need not be one who may read it: a workflow had better not. Then nothing is known of it but that.
        """
        try:
            found = self._read()
        except Refused:
            return ["what we may not read"]
        if found is None:
            return None
        self._check(found)
        return sorted(found.keys() & VARIABLES)

    def make(self, given: Mapping[str, str]) -> list[str]:
        """It holds these then, beside what it held. What nobody need choose is chosen: the devices' signing key, the operators' token."""
        found = self._read()
        whole = {**(found or {}), **given}
        if self._signs() and "DEVICE_TOKEN_KEYS" not in whole:
            keys = {f"{datetime.now(UTC):%Y-%m}": secrets.token_hex(32)}
            whole["DEVICE_TOKEN_KEYS"] = json.dumps(keys)
        whole.setdefault("ADMIN_TOKEN", secrets.token_urlsafe(32))
        self._check(whole)
        client = self.account.client("secretsmanager")
        text = json.dumps(whole, indent=1)
        with said_no():
            if found is None:
                client.create_secret(
                    Name=self._id, SecretString=text, Description="Latchkey's secrets: see core/settings.py"
                )
            else:
                client.put_secret_value(SecretId=self._id, SecretString=text)
        return sorted(whole)

    def _read(self) -> dict[str, str] | None:
        client = self.account.client("secretsmanager")
        with said_no():
            try:
                text = client.get_secret_value(SecretId=self._id).get("SecretString", "")
            except client.exceptions.ResourceNotFoundException:
                return None
        return read_object(text, f"The secret {self._id}")

    def _signs(self) -> bool:
        return self.account.stage.settings.get("ACCESS_MODE", "bound") == "bound"

    def _check(self, found: Mapping[str, str]) -> None:
        wrong = [f"{name} is missing" for name in NEEDED if not found.get(name)]
        wrong += [f"{name} is no secret that the service knows" for name in found if name not in VARIABLES]
        try:
            check(read_settings({**self.account.stage.settings, **found}))
        except SettingsError as problem:
            wrong += problem.problems
        if wrong:
            name = self.account.stage.name
            raise Stopped(
                f"What is set is wrong, in the secret {self._id} or in config/{name}.yml: {'; '.join(wrong)}.",
                f"make secret STAGE={name} sets what is in the secret (FROM=some.json: from a file; what it does not name stays)",
            )


def read_object(text: str, what: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Stopped(
            f"{what} is not a JSON object of variables and values.",
            'it looks like {"DATABASE_URL": "postgresql://...", "ANTHROPIC_API_KEY": "..."}',
        )
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
        if value is not None
    }


def given_by(file: str | None, ask: Ask | None, known: Mapping[str, object] | None = None) -> dict[str, str]:
    """From a file of JSON (- is what comes in), or from whoever sits here."""
    if file:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
        except OSError as error:
            raise Stopped(f"{file} cannot be read: {error.strerror}.") from error
        return read_object(text, file)
    if ask is None:
        raise Stopped(
            "Nobody is here to be asked for the secrets.",
            "name a file of JSON: make secret STAGE=... FROM=some.json (- takes it from a pipe)",
        )
    said = {name: ask(_ASKED[name] + ("; nothing: as it is" if known else "")).strip() for name in _ASKED}
    return {name: value for name, value in said.items() if value}


def at_the_terminal() -> Ask | None:
    if not sys.stdin.isatty():
        return None
    return lambda question: getpass.getpass(f"latchkey  {question}: ")
