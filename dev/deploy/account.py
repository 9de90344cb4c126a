"""The AWS account that is deployed to: who is asking, and what stands there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dev.deploy.stage import Stage
from dev.deploy.stopped import Refused, Stopped

# Of the outputs: where the service answers.
URL = "HttpApiUrl"
_NO_CREDENTIALS = "sign in first: `aws sso login` or `aws configure`, and AWS_PROFILE names the profile if there are several"


@dataclass(frozen=True, slots=True)
class Stack:
    status: str
    outputs: dict[str, str]

    @property
    def serves(self) -> bool:
        """Something of it answers: it was made once, and is not being taken away. osls makes a stack of a bucket alone and all else in a
        change of that; where the first such change was taken back there is a stack, and no function.
        """
        is_made = self.status not in _NEVER_MADE and URL in self.outputs
        return is_made and not self.status.startswith("DELETE")


_NEVER_MADE = {"CREATE_FAILED", "CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS"} | {
    f"ROLLBACK_{how}" for how in ("IN_PROGRESS", "COMPLETE", "FAILED")
}


@dataclass(frozen=True)
class Account:
    stage: Stage

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.Session(region_name=self.stage.region)

    def client(self, service: str, **more: Any) -> Any:
        from botocore.config import Config

        return self._session.client(service, config=Config(**more))

    def who(self) -> tuple[str, str]:
        """The account's number, and as whom we are there."""
        with said_no():
            found = self.client("sts").get_caller_identity()
        return found["Account"], found["Arn"]

    def environ(self) -> dict[str, str]:
        """For osls, which has rules of its own for who it is (AWS_PROFILE goes before keys, AWS_PROD_PROFILE before both): it is who we
        are, in the account that was shown, where the migration goes as well.
        """
        from botocore.exceptions import NoCredentialsError

        with said_no():
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            keys = found.get_frozen_credentials()
        ours = {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token,
        }
        others = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE", *ours}
        of_the_stage = f"AWS_{self.stage.name.upper()}_"
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in others and not name.startswith(of_the_stage)
        }
        return kept | {name: value for name, value in ours.items() if value}

    def stack(self) -> Stack | None:
        from botocore.exceptions import ClientError

        with said_no():
            try:
                found = self.client("cloudformation").describe_stacks(StackName=self.stage.stack)
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        (stack,) = found["Stacks"]
        outputs = {said["OutputKey"]: said["OutputValue"] for said in stack.get("Outputs", [])}
        return Stack(stack["StackStatus"], outputs)

    def why_it_failed(self) -> list[str]:
        """What CloudFormation says of the last change, the first reason first."""
        with said_no():
            found = self.client("cloudformation").describe_stack_events(StackName=self.stage.stack)
        reasons = []
        for event in found["StackEvents"]:
            status, reason = event["ResourceStatus"], event.get("ResourceStatusReason", "")
            if event["ResourceType"] == "AWS::CloudFormation::Stack":
                # Of the stack itself it says only which resources it was.
                if reason == "User Initiated":
                    break
            elif status.endswith("_FAILED") and "cancelled" not in reason:
                reasons.append(f"{event['LogicalResourceId']}: {reason}")
        return reasons[::-1][:3]


@contextmanager
def said_no() -> Iterator[None]:
    """Whatever AWS, or the way there, does not do for us."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Stopped("There are no AWS credentials here.", _NO_CREDENTIALS) from error
    except ClientError as error:
        code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        kind = Refused if _may_not(code) else Stopped
        raise kind(
            f"AWS refuses {error.operation_name}: {code}: {said}", _about(code, error.operation_name)
        ) from error
    except BotoCoreError as error:
        raise Stopped(f"AWS cannot be asked: {error}", _NO_CREDENTIALS) from error


def _about(code: str, operation: str) -> str:
    if "Expired" in code or "InvalidClientToken" in code or "UnrecognizedClient" in code:
        return _NO_CREDENTIALS
    if _may_not(code):
        return f"have whoever keeps the account permit {operation} to you, or deploy as somebody else (AWS_PROFILE)"
    return ""


def _may_not(code: str) -> bool:
    return "AccessDenied" in code or "Unauthorized" in code
