"""What runs here is declared as what is deployed: the host's own list of functions is compared with the packaged template."""

from typing import Any

import pytest

from dev.lambda_host import declared
from dev.lambda_host.declared import DECLARED, MAX_RECEIVES, SECRET, STAGE, VISIBILITY_S, Resources
from dev.lambda_host.gateway import LIMIT_S
from dev.lambda_host.runtime import PINNED
from dev.package.target import PYTHON
from tests.databases import ROOT
from tests.template.stack import Stack

# What the host calls what CloudFormation makes.
MADE = {"<Queue>": "a queue", "<ArchiveBucket>": "a bucket"}


@pytest.fixture(scope="session")
def functions() -> dict[str, Any]:
    made = declared.functions(Resources("a queue", "a bucket"), {})
    return {function.name: function for function in made}


@pytest.mark.parametrize("name", DECLARED)
def test_a_function_is_declared_as_in_the_template(
    stack: Stack, functions: dict[str, Any], name: str
) -> None:
    there, here = stack.function(name), functions[name]
    assert there["Handler"] == here.handler
    assert there["Timeout"] == here.timeout_s
    assert there["MemorySize"] == here.memory_mb
    assert there["Runtime"] == f"python{PYTHON}"
    environment = {
        variable: MADE.get(value, value).replace(f"/{stack.stage}", f"/{STAGE}")
        for variable, value in stack.environment(name).items()
    }
    # Those of config/dev.yml are a stage's own.
    assert {**environment, "STAGE": STAGE} == {**_settings_of(environment), **here.environment}


def _settings_of(environment: dict[str, str]) -> dict[str, str]:
    ours = {"STAGE", "SECRETS_ID", "QUEUE_URL", "ARCHIVE_BUCKET"}
    return {name: value for name, value in environment.items() if name not in ours}


def test_there_are_no_other_functions(stack: Stack) -> None:
    deployed = stack.of_type("AWS::Lambda::Function")
    assert {name.removesuffix("LambdaFunction").lower() for name in deployed} == set(DECLARED)


def test_the_queue_is_as_in_the_template(stack: Stack) -> None:
    (queue,) = [found for found in stack.of_type("AWS::SQS::Queue").values() if "RedrivePolicy" in found]
    assert queue["FifoQueue"] is True
    assert queue["VisibilityTimeout"] == VISIBILITY_S
    assert queue["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES
    (source,) = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    assert source["BatchSize"] == 1
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_clock_is_as_in_the_template(stack: Stack) -> None:
    (clock,) = stack.of_type("AWS::Scheduler::Schedule").values()
    assert clock["ScheduleExpression"] == f"rate({declared.CLEANUP_EVERY_S / 60:.0f} minute)"
    assert clock["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert "Input" not in clock["Target"]


def test_the_secret_has_the_templates_name(stack: Stack) -> None:
    assert stack.environment("api")["SECRETS_ID"].replace(stack.stage, STAGE) == SECRET


def test_the_gateway_waits_longer_than_the_function_may_take() -> None:
    assert DECLARED["api"].timeout_s < LIMIT_S


def test_the_runtime_client_is_the_one_that_other_tests_read() -> None:
    pinned = set(PINNED.read_text().split())
    others = set((ROOT / "requirements-dev.txt").read_text().split())
    assert pinned <= others, "dev/lambda_host/runtime.txt and requirements-dev.txt pin other versions"
