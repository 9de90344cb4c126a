"""How things stand when a step has failed: what is changed by then, and what goes on serving."""

import contextlib
from collections.abc import Iterator
from typing import Final

from dev.deploy.account import Account, Stack
from dev.deploy.stopped import Stopped

_SETTLED: Final = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE",
    "IMPORT_COMPLETE",
)


def refuse_what_cannot_be_changed(account: Account, stack: Stack | None) -> None:
    if stack is None or stack.status in ("REVIEW_IN_PROGRESS", *_SETTLED):
        return
    name = account.stage.name
    if stack.status.endswith("_IN_PROGRESS"):
        raise Stopped(
            f"CloudFormation is at work on {account.stage.stack} ({stack.status}).",
            "try again when it is done",
        )
    if stack.serves:
        raise Stopped(
            f"The stack {account.stage.stack} is {stack.status}: CloudFormation could neither go on nor back.",
            f"aws cloudformation continue-update-rollback --region {account.stage.region} --stack-name {account.stage.stack}; then again",
        )
    raise Stopped(
        f"The stack {account.stage.stack} is {stack.status}: it was never made as a whole, and cannot be changed.",
        f"make remove STAGE={name}, and then make deploy STAGE={name}",
    )


@contextlib.contextmanager
def standing(how: str) -> Iterator[None]:
    try:
        yield
    except Stopped as stopped:
        stopped.stands = stopped.stands or how
        raise
    except KeyboardInterrupt:
        raise Stopped("Interrupted.", "run it again: every step may be done twice", how) from None


@contextlib.contextmanager
def taken_back(account: Account, stood: bool) -> Iterator[None]:
    """What CloudFormation made of a change that failed."""
    name = account.stage.name
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(
            "Interrupted.",
            f"watch the stack {account.stage.stack} in the AWS console; when it is done: make deploy STAGE={name}",
            "CloudFormation may still be at work: it ends what was begun",
        ) from None
    except Stopped as stopped:
        after = account.stack()
        if after is None:
            stopped.stands = "there is no stack: nothing was made"
            raise
        why = account.why_it_failed()
        if why:
            stopped.what = f"{stopped.what} {'; '.join(why)}"
        stopped.stands = f"the stack is {after.status}: " + _meaning(after, stood)
        if not after.serves:
            anew = "" if after.status in _SETTLED else f"make remove STAGE={name} and "
            stopped.to_do = f"mend what it says; then {anew}make deploy STAGE={name}"
        raise


def _meaning(stack: Stack, stood: bool) -> str:
    if stack.status.endswith("_IN_PROGRESS"):
        return "CloudFormation is still at work"
    if not stack.serves:
        return "nothing of it serves"
    if "ROLLBACK_FAILED" in stack.status:
        return "CloudFormation could not take all of it back; look at it in the AWS console"
    return "the release before goes on serving" if stood else "it is there"
