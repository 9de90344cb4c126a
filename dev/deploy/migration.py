"""Migrating, by the function that ships the migrations: it is where the database can be reached, and no address of it is needed here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dev.deploy.account import Account, said_no
from dev.deploy.stopped import Stopped

# Of the function, and a little.
_LONGEST_S: Final = 310
_TO_DO: Final = {
    "database_newer": "deploy that release; or, if it is the one after this, which this one works with, deploy without migrating: "
    "make deploy STAGE={stage} MIGRATE=no",
    "database_locked": "try again in a moment",
    "database_unavailable": "see that DATABASE_URL in the secret {secret} is right, and that functions reach it (`vpc` in config/{stage}.yml)",
}
_ELSE: Final = (
    "the function's log has the rest: /aws/lambda/{function}. After it is mended: make deploy STAGE={stage}"
)


@dataclass(frozen=True, slots=True)
class Migration:
    account: Account

    def put(self, artifact: Path) -> None:
        """The new release's migrations into the function, before anything else of that release is there."""
        name = self.account.stage.function("migrate")
        client = self.account.client("lambda")
        with said_no():
            client.update_function_code(FunctionName=name, ZipFile=artifact.read_bytes())
            client.get_waiter("function_updated_v2").wait(
                FunctionName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 60}
            )

    def upgrade(self) -> str:
        """What came of it, in a few words."""
        found = self._ask({"command": "upgrade"})
        before, after, head = (found.get(name) for name in ("from", "to", "head"))
        if after is None or after != head:
            raise Stopped(f"The database is at {after} after migrating, and not at {head}.", self._else())
        return f"at {after} already" if before == after else f"from {before or 'nothing'} to {after}"

    def _ask(self, command: dict[str, str]) -> dict[str, Any]:
        # Never sent twice: the first may still be at work.
        client = self.account.client(
            "lambda", read_timeout=_LONGEST_S, retries={"total_max_attempts": 1, "mode": "standard"}
        )
        with said_no():
            answer = client.invoke(
                FunctionName=self.account.stage.function("migrate"), Payload=json.dumps(command)
            )
            said = answer["Payload"].read()
        try:
            found = json.loads(said)
        except ValueError:
            found = {"errorMessage": said.decode(errors="replace")[:300]}
        if answer.get("FunctionError") or not isinstance(found, dict) or "to" not in found:
            raise self._failed(found)
        return found

    def _failed(self, found: Any) -> Stopped:
        said = str(found.get("errorMessage", found) if isinstance(found, dict) else found)
        stage = self.account.stage
        to_do = _TO_DO.get(said.partition(":")[0])
        if to_do is not None:
            to_do = to_do.format(stage=stage.name, secret=stage.secret)
        return Stopped(f"The database was not migrated: {said}", to_do or self._else())

    def _else(self) -> str:
        stage = self.account.stage
        return _ELSE.format(function=stage.function("migrate"), stage=stage.name)
