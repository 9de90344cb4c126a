"""Who waits for whom, and for how long: everything inside ends before what is around it."""

import re
from typing import Final

from core.settings import WORKER_RESERVE_S
from tests.template.stack import FUNCTIONS, ROOT, Stack

# As AWS has it: a request through the gateway, and a minute to the clock's next word.
_GATEWAY_S: Final = 30
_INVOKE_S: Final = 900
_A_MINUTE_S: Final = 60


def timeout(stack: Stack, name: str) -> int:
    return int(stack.function(name)["Timeout"])


def test_there_are_four_functions_from_one_artifact(stack: Stack) -> None:
    found = stack.of_type("AWS::Lambda::Function")
    assert set(found) == {f"{name.title()}LambdaFunction" for name in FUNCTIONS}
    for name in FUNCTIONS:
        function = stack.function(name)
        assert function["Handler"] == f"functions.{name}.handler"
        assert function["FunctionName"] == f"latchkey-{stack.stage}-{name}"
        assert function["Architectures"] == ["arm64"]
        assert function["Code"]["S3Key"].endswith("/latchkey-arm64.zip")
    assert re.search(r"(?m)^  artifact: build/latchkey-arm64.zip$", (ROOT / "serverless.yml").read_text())


def test_the_python_is_the_one_that_the_artifact_is_built_for(stack: Stack) -> None:
    from dev.package import target

    assert {stack.function(name)["Runtime"] for name in FUNCTIONS} == {f"python{target.PYTHON}"}


def test_the_http_function_ends_before_the_gateway_and_its_turns_before_it(stack: Stack) -> None:
    (integration,) = stack.of_type("AWS::ApiGatewayV2::Integration").values()
    assert timeout(stack, "api") < _GATEWAY_S
    assert timeout(stack, "api") * 1000 < integration["TimeoutInMillis"]
    assert stack.settings("api").turn_budget_s + 3 < timeout(stack, "api")


def test_the_worker_has_time_to_hand_over(stack: Stack) -> None:
    budget_s = stack.settings("worker").worker_budget_s
    assert budget_s + WORKER_RESERVE_S <= timeout(stack, "worker") <= _INVOKE_S


def test_a_message_stays_hidden_for_longer_than_its_function_may_take(stack: Stack) -> None:
    (mapping,) = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionName"] == "<WorkerLambdaFunction.Arn>"
    assert mapping["EventSourceArn"] == "<Queue.Arn>"
    assert stack.of_type("AWS::SQS::Queue")["Queue"]["VisibilityTimeout"] >= 2 * timeout(stack, "worker")


def test_one_worker_that_dies_does_not_ring_for_the_queues_age(stack: Stack) -> None:
    """Its message comes again, is found to be nobody's any more, and goes; with some minutes to spare for a worker to be free."""
    alarm = stack.of_type("AWS::CloudWatch::Alarm")["QueueAgeAlarm"]
    hidden_s = stack.of_type("AWS::SQS::Queue")["Queue"]["VisibilityTimeout"]
    assert hidden_s + 2 * _A_MINUTE_S <= alarm["Threshold"]


def test_every_function_ends_before_the_queues_visibility_is_over(stack: Stack) -> None:
    visible_s = stack.of_type("AWS::SQS::Queue")["Queue"]["VisibilityTimeout"]
    assert all(timeout(stack, name) < visible_s for name in FUNCTIONS)


def test_messages_come_one_by_one_and_fail_one_by_one(stack: Stack) -> None:
    (mapping,) = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 1000
    assert "ReservedConcurrentExecutions" not in stack.function("worker")


def test_a_turn_may_be_handed_over_as_often_as_it_takes(stack: Stack) -> None:
    """Lambda counts who wakes whom, and would stop the seventeenth worker in a row."""
    assert stack.function("worker")["RecursiveLoop"] == "Allow"


def test_dead_letters_are_kept_longer_than_letters(stack: Stack) -> None:
    queues = stack.of_type("AWS::SQS::Queue")
    assert set(queues) == {"Queue", "DeadLetters"}
    assert all(queue["FifoQueue"] is True for queue in queues.values())
    assert all(queue["QueueName"].endswith(".fifo") for queue in queues.values())
    assert queues["Queue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": "<DeadLetters.Arn>",
        "maxReceiveCount": 5,
    }
    assert queues["DeadLetters"]["MessageRetentionPeriod"] > queues["Queue"]["MessageRetentionPeriod"]
    # Else a wake-up would be gone before it had been tried as often as that.
    tries_s = 5 * queues["Queue"]["VisibilityTimeout"]
    assert queues["Queue"]["MessageRetentionPeriod"] > tries_s


def test_the_clean_up_is_called_each_minute_and_not_again_when_it_fails(stack: Stack) -> None:
    (clock,) = stack.of_type("AWS::Scheduler::Schedule").values()
    assert clock["ScheduleExpression"] == "rate(1 minute)"
    assert clock["State"] == "ENABLED"
    assert clock["Target"]["Arn"] == "<CleanupLambdaFunction.Arn>"
    assert clock["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    # The clock's call is asynchronous, and Lambda has retries of its own for those.
    (invoked,) = stack.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert invoked["FunctionName"] == "<CleanupLambdaFunction>"
    assert (invoked["MaximumRetryAttempts"], invoked["MaximumEventAgeInSeconds"]) == (0, 60)


def test_the_gateway_throttles(stack: Stack) -> None:
    (stage,) = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["StageName"] == "$default"
    limits = stage["DefaultRouteSettings"]
    assert limits["ThrottlingBurstLimit"] >= limits["ThrottlingRateLimit"] > 0
    # They are billed, and no alarm and no picture is made of them.
    assert limits["DetailedMetricsEnabled"] is False


def test_the_gateway_speaks_payload_2_and_leaves_cors_to_the_application(stack: Stack) -> None:
    (integration,) = stack.of_type("AWS::ApiGatewayV2::Integration").values()
    assert integration["PayloadFormatVersion"] == "2.0"
    (api,) = stack.of_type("AWS::ApiGatewayV2::Api").values()
    assert "CorsConfiguration" not in api
    assert {route["RouteKey"] for route in stack.of_type("AWS::ApiGatewayV2::Route").values()} == {"$default"}
