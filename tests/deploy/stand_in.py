"""What stands in for osls, CloudFormation and the migrate function, so that each may fail in turn; AWS's other services are moto's.

osls is a real executable here, which asks this process what to say and how to end.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.cloudformation.models import Event, cloudformation_backends

from dev.deploy.account import Account

ACCOUNT_ID = "123456789012"

_EXECUTABLE = """#!{python} -IS
import json, os, socket, sys
asks = socket.create_connection(("127.0.0.1", {port}))
as_whom = {{name: value for name, value in os.environ.items() if name.startswith("AWS_")}}
asks.sendall(json.dumps([sys.argv[1:], as_whom]).encode() + b"\\n")
answer = json.loads(asks.makefile().readline())
print(answer["says"], flush=True)
sys.exit(answer["ends"])
"""

# What it says, and with which status it ends.
Answer = tuple[str, int]


def _template(type_: str, outputs: dict[str, str]) -> str:
    resources = {type_.split("::")[1]: {"Type": type_}}
    return json.dumps(
        {"Resources": resources, "Outputs": {name: {"Value": value} for name, value in outputs.items()}}
    )


@dataclass
class StandIn:
    """`calls` are all that were made, of osls and of the migrate function, in their order."""

    account: Account
    place: Path
    url: str = "http://127.0.0.1:9"
    calls: list[str] = field(default_factory=list)
    # What the environment of osls says of AWS.
    as_whom: dict[str, str] = field(default_factory=dict)
    deploys: Callable[["StandIn"], Answer] = lambda world: world.make_stack()
    migrates: Callable[[dict[str, Any]], dict[str, Any]] = lambda _asked: {
        "from": None,
        "to": "0006",
        "head": "0006",
        "migrated": [],
    }

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._answer, daemon=True).start()
        self.osls = self.place / "osls"
        self.osls.write_text(_EXECUTABLE.format(python=sys.executable, port=self._listening.getsockname()[1]))
        self.osls.chmod(0o755)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _answer(self) -> None:
        while True:
            try:
                asking, _ = self._listening.accept()
            except OSError:
                return
            with asking, asking.makefile() as said:
                arguments, self.as_whom = json.loads(said.readline())
                says, ends = self._osls(arguments)
                asking.sendall(json.dumps({"says": says, "ends": ends}).encode() + b"\n")

    def _osls(self, arguments: list[str]) -> Answer:
        if arguments == ["--version"]:
            return "4.3.1\n", 0
        self.calls.append(" ".join(["osls", *arguments]))
        return self.deploys(self)

    # ---- what it makes

    def client(self, service: str) -> Any:
        return self.account.client(service)

    def make_stack(self) -> Answer:
        """As far as the deployment looks at it: its outputs, and the migrate function."""
        cloudformation, named = self.client("cloudformation"), {"StackName": self.account.stage.stack}
        if self.account.stack() is None:
            self.make_bucket()
        if not (stack := self.account.stack()) or "HttpApiUrl" not in stack.outputs:
            outputs = {"HttpApiUrl": self.url, "ArchiveBucketName": "latchkey-dev-archive-1"}
            cloudformation.update_stack(**named, TemplateBody=_template("AWS::SNS::Topic", outputs))
            self._make_function()
        return "Service deployed to stack", 0

    def make_bucket(self) -> None:
        """As osls does it, by itself, before all else is made by a change."""
        bucket = _template("AWS::S3::Bucket", {"ServerlessDeploymentBucketName": "latchkey-dev-bucket"})
        self.client("cloudformation").create_stack(StackName=self.account.stage.stack, TemplateBody=bucket)

    def _make_function(self) -> None:
        trusts = {"Version": "2012-10-17", "Statement": []}
        role = self.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trusts))
        self.client("lambda").create_function(
            FunctionName=self.account.stage.function("migrate"),
            Runtime="python3.13",
            Role=role["Role"]["Arn"],
            Handler="functions.migrate.handler",
            Code={"ZipFile": b"the release before"},
        )

    def invoke(self, _backend: LambdaSimpleBackend, *given: Any) -> bytes:
        """Instead of moto's, which answers and never fails."""
        name, _, body, _, headers = given
        self.calls.append(f"invoke {name} {body if isinstance(body, str) else body.decode()}")
        answer = self.migrates(json.loads(body))
        if "errorMessage" in answer:
            headers["x-amz-function-error"] = "Unhandled"
        return json.dumps(answer).encode()

    def becomes(self, status: str, *failed: tuple[str, str]) -> None:
        """The stack, after a change that went so; `failed` are resources and why."""
        backend = cloudformation_backends[ACCOUNT_ID][self.account.stage.region]
        stack = backend.get_stack(self.account.stage.stack)
        stack.status = status

        def event(type_: str, name: str, how: str, why: str) -> None:
            stack.events.append(
                Event(
                    stack_id=stack.stack_id,
                    stack_name=stack.name,
                    resource_properties=None,
                    logical_resource_id=name,
                    physical_resource_id=name,
                    resource_type=type_,
                    resource_status=how,
                    resource_status_reason=why,
                )
            )

        event("AWS::CloudFormation::Stack", stack.name, "UPDATE_IN_PROGRESS", "User Initiated")
        for name, why in failed:
            event("AWS::Lambda::Function", name, "UPDATE_FAILED", why)
        event("AWS::CloudFormation::Stack", stack.name, status, "")
