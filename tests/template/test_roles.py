"""Who may do what: every permission of a role is needed by code of that function, and all that its code asks of AWS is permitted.

Both ways are read from the source: a permission names the call that needs it and where that is; a call of boto3 that no
permission is known for fails. What the functions really ask, when they run, is compared in tests/lambda_host.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.template.conftest import Packs
from tests.template.stack import FUNCTIONS, ROOT, Stack


@dataclass(frozen=True, slots=True)
class Asks:
    """A call of boto3: where it is, and what it needs."""

    module: str
    service: str
    method: str
    needs: frozenset[str]


CALLS: Final = (
    Asks(
        "core/secrets.py", "secretsmanager", "get_secret_value", frozenset({"secretsmanager:GetSecretValue"})
    ),
    Asks("core/queue.py", "sqs", "send_message", frozenset({"sqs:SendMessage"})),
    Asks("core/archive.py", "s3", "put_object", frozenset({"s3:PutObject"})),
    # In parts, if it is long: these are put as the whole is, and thrown away when one of them cannot be.
    Asks("core/archive.py", "s3", "upload_fileobj", frozenset({"s3:PutObject", "s3:AbortMultipartUpload"})),
    Asks("core/archive.py", "s3", "list_object_versions", frozenset({"s3:ListBucketVersions"})),
    # Each by its version.
    Asks("core/archive.py", "s3", "delete_objects", frozenset({"s3:DeleteObjectVersion"})),
)
# Only a restore asks these, and that is called by an operator, with permissions of their own.
BY_OPERATORS: Final = {("s3", "get_object"), ("s3", "list_objects_v2")}

# What Lambda itself does in a role's name.
LOGS: Final = {"logs:CreateLogStream", "logs:PutLogEvents"}
TRACES: Final = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
EVENTS: Final = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
NETWORK: Final = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}
# AWS knows no resource for these: X-Ray has none, and a network interface has no name before it is made.
NAMELESS: Final = TRACES | NETWORK

_SECRET: Final = {("secretsmanager", "get_secret_value")}
_WAKES: Final = {("sqs", "send_message")}
_FORGETS: Final = {("s3", "list_object_versions"), ("s3", "delete_objects")}
# Which of the calls a function comes to, and how.
COMES_TO: Final[dict[str, set[tuple[str, str]]]] = {
    # A turn that is handed over wakes a worker; DELETE /v1/user forgets what is archived.
    "api": _SECRET | _WAKES | _FORGETS,
    # A turn that is handed over, or that others wait behind.
    "worker": _SECRET | _WAKES,
    # Archives what has expired, goes on with erasures that nobody went on with, wakes for turns that were left behind.
    "cleanup": _SECRET | _WAKES | _FORGETS | {("s3", "put_object"), ("s3", "upload_fileobj")},
    "migrate": _SECRET,
}
RESOURCES: Final = {
    "secretsmanager:": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:latchkey/{stage}-??????",
    "sqs:": "<Queue.Arn>",
    "s3:ListBucketVersions": "arn:aws:s3:::<ArchiveBucket>",
    "s3:": "arn:aws:s3:::<ArchiveBucket>/users/*",
    "logs:": "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/latchkey-{stage}-{function}:*",
    "xray:": "*",
    "ec2:": "*",
}


def role_of(stack: Stack, function: str) -> str:
    return str(stack.function(function)["Role"]).strip("<>").partition(".")[0]


def actions(stack: Stack, role: str) -> set[str]:
    return {action for said in stack.statements(role) for action in _listed(said["Action"])}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_may_do_what_its_function_asks_and_no_more(stack: Stack, function: str) -> None:
    asked = {
        need for call in CALLS if (call.service, call.method) in COMES_TO[function] for need in call.needs
    }
    needed = asked | LOGS | TRACES | (EVENTS if function == "worker" else set())
    assert actions(stack, role_of(stack, function)) == needed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_permission_is_for_one_thing_by_its_name(stack: Stack, function: str) -> None:
    for said in stack.statements(role_of(stack, function)):
        for action in _listed(said["Action"]):
            key = action if action in RESOURCES else f"{action.partition(':')[0]}:"
            expected = RESOURCES[key].format(stage=stack.stage, function=function)
            assert _listed(said["Resource"]) == [expected], action


def test_no_statement_is_wider_than_it_must_be(stack: Stack, switched: Packs) -> None:
    for each in (stack, switched("everything on")):
        for name in each.of_type("AWS::IAM::Role"):
            for said in each.statements(name):
                assert said["Effect"] == "Allow"
                assert set(said) <= {"Sid", "Effect", "Action", "Resource"}
                for action in _listed(said["Action"]):
                    assert "*" not in action, f"{name}: {action}"
                    if "*" in _listed(said["Resource"]):
                        assert action in NAMELESS, f"{name}: {action} on everything"


def test_every_function_has_a_role_of_its_own(stack: Stack) -> None:
    roles = {role_of(stack, function) for function in FUNCTIONS}
    assert len(roles) == len(FUNCTIONS)
    assert set(stack.of_type("AWS::IAM::Role")) == roles | {"CleanupClockRole"}
    for role in roles:
        properties = stack.resources[role]["Properties"]
        assert "ManagedPolicyArns" not in properties
        (trusts,) = properties["AssumeRolePolicyDocument"]["Statement"]
        assert trusts["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert not stack.of_type("AWS::IAM::Policy")
    assert not stack.of_type("AWS::IAM::ManagedPolicy")


def test_the_clock_may_call_the_clean_up_and_no_other_account_may_be_it(stack: Stack) -> None:
    (said,) = stack.statements("CleanupClockRole")
    assert (said["Action"], said["Resource"]) == ("lambda:InvokeFunction", "<CleanupLambdaFunction.Arn>")
    (trusts,) = stack.resources["CleanupClockRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusts["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trusts["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_in_a_vpc_every_role_may_make_its_way_in_and_elsewhere_none(stack: Stack, switched: Packs) -> None:
    inside = switched("everything on")
    for function in FUNCTIONS:
        assert actions(inside, role_of(inside, function)) >= NETWORK
        assert not actions(stack, role_of(stack, function)) & NETWORK


# ---- the source


def calls_of_aws() -> set[tuple[str, str, str]]:
    """(module, service, method) of each call of boto3 in what ships, found by the client that it is a method of."""
    found = set()
    for room in ("core", "functions"):
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text())
            services = {service for node in ast.walk(tree) if (service := _client(node))}
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    service = _client(node.func.value)
                    method = _page(node) if node.func.attr == "get_paginator" else node.func.attr
                    if service and method:
                        found.add((str(path.relative_to(ROOT)), service, method))
                        services.discard(service)
            # A client that is kept under a name would hide its calls from here.
            assert not services, f"{path}: call the methods of client(...) where it stands"
    return found


def _client(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "client":
        first = node.args[0]
        assert isinstance(first, ast.Constant), ast.dump(node)
        return str(first.value)
    return None


def _page(node: ast.Call) -> str:
    assert isinstance(node.args[0], ast.Constant)
    return str(node.args[0].value)


def test_every_call_of_aws_is_known_and_every_known_one_is_made() -> None:
    made = {found for found in calls_of_aws() if found[1:] not in BY_OPERATORS}
    assert made == {(call.module, call.service, call.method) for call in CALLS}


def test_no_function_comes_to_what_only_operators_may_ask() -> None:
    """Each of the archive's methods that ask it is called by the restore alone, and no function restores."""
    asks = re.compile(r"archive\.(find|has|read|of_user)\(")
    in_core = {path.name for path in (ROOT / "core").rglob("*.py") if asks.search(path.read_text())}
    assert in_core == {"restoring.py"}
    for path in (ROOT / "functions").rglob("*.py"):
        assert not re.search(r"\brestoring\b", path.read_text()), path


def test_every_call_is_some_functions() -> None:
    assert {(call.service, call.method) for call in CALLS} == set().union(*COMES_TO.values())


def test_boto3_is_spoken_to_in_one_way_only() -> None:
    """`core.aws.client`, which calls_of_aws looks for."""
    others = [
        f"{path}:{node.lineno}"
        for room in ("core", "functions")
        for path in Path(ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and path != ROOT / "core" / "aws.py"
        and any(name.split(".")[0] == "boto3" for name in _names(node))
    ]
    assert not others


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
