"""Taking a stage away, and saying what stays."""

from collections.abc import Callable
from dataclasses import dataclass

from dev.deploy.account import Account
from dev.deploy.osls import Osls
from dev.deploy.stopped import Stopped
from dev.steps import say, step


@dataclass(frozen=True, slots=True)
class Removal:
    account: Account
    osls: Osls

    def remove(self, confirm: Callable[[str], str] | None) -> None:
        stage = self.account.stage
        with step("look") as tell:
            number, arn = self.account.who()
            tell(f"{number}, {stage.region}, as {arn}")
        if self.account.stack() is None:
            raise Stopped(
                f"There is no stack {stage.stack} in {stage.region} of {number}: nothing to remove."
            )
        stays = self._stays()
        self._insist(confirm, number, stays)
        with step("remove") as tell:
            self._take_away()
            tell(f"{stage.stack} is gone")
        for line in stays:
            say(f"stays: {line}")

    def _insist(self, confirm: Callable[[str], str] | None, number: str, stays: list[str]) -> None:
        stage = self.account.stage
        if confirm is None:
            raise Stopped(
                "Nobody is here to be asked.",
                f"make remove STAGE={stage.name} YES=1",
                "nothing has been removed",
            )
        say(
            f"{stage.stack} in {stage.region} of {number}: its functions, address, queue, logs and alarms will be gone."
        )
        for line in stays:
            say(f"will stay: {line}")
        if confirm(f"latchkey  Say the stage's name to remove it ({stage.name}): ").strip() != stage.name:
            raise Stopped("That is not its name.", stands="nothing has been removed")

    def _take_away(self) -> None:
        try:
            self.osls.run("remove", self.account)
        except Stopped as stopped:
            left = self.account.stack()
            if left is None:
                return
            stopped.stands = f"the stack is {left.status}. {' '.join(self.account.why_it_failed())}".strip()
            stopped.to_do = f"when it is mended: make remove STAGE={self.account.stage.name}"
            raise

    def _stays(self) -> list[str]:
        stage = self.account.stage
        stack = self.account.stack()
        bucket = stack.outputs.get("ArchiveBucketName") if stack else None
        lines = [
            f"the database, as it is; and the secret {stage.secret}, which names it "
            f"(aws secretsmanager delete-secret --region {stage.region} --secret-id {stage.secret})"
        ]
        if bucket:
            lines.append(
                f"the archive, s3://{bucket}. A stage that is made again goes on with it if config/{stage.name}.yml says archive: {bucket}"
                " - and only then does erasing a person reach what is in it"
            )
        return lines
