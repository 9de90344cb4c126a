"""What must not be open, said, or kept: secrets, buckets, logs."""

import json
import re
from typing import Any

from core.settings import Settings, variables
from tests.template.stack import FUNCTIONS, ROOT, Stack

SECRET = {
    spec.metadata["variable"] for spec in Settings.__dataclass_fields__.values() if spec.metadata["secret"]
}


def test_every_variable_is_a_setting_and_is_accepted(stack: Stack) -> None:
    known = {variable for variable, _ in variables()}
    for name in FUNCTIONS:
        assert not stack.environment(name).keys() - known, name
        settings = stack.settings(name)
        assert settings.stage == stack.stage
        assert settings.secrets_id == f"latchkey/{stack.stage}"


def test_each_function_is_told_what_it_works_with(stack: Stack) -> None:
    told = {name: stack.environment(name) for name in FUNCTIONS}
    assert {name for name in told if told[name].get("QUEUE_URL") == "<Queue>"} == {"api", "worker", "cleanup"}
    assert {name for name in told if told[name].get("ARCHIVE_BUCKET") == "<ArchiveBucket>"} == {
        "api",
        "cleanup",
    }


def test_no_secret_is_in_the_environment_or_anywhere_in_the_template(stack: Stack) -> None:
    for name in FUNCTIONS:
        assert not stack.environment(name).keys() & SECRET, name
    said = json.dumps(stack.template)
    # The names of secrets stand nowhere, so neither can what would be given for them; nor does anything that looks like one.
    assert not [variable for variable in SECRET if f'"{variable}"' in said]
    assert not re.search(r"sk-ant-|AKIA|postgres(ql)?://|-----BEGIN|[0-9a-f]{40}", said)
    # A parameter, or a reference that CloudFormation resolves, would be shown to whoever may look at the stack.
    assert "Parameters" not in stack.template
    assert "{{resolve:" not in said


def test_every_bucket_is_encrypted_and_closed(stack: Stack) -> None:
    buckets = stack.of_type("AWS::S3::Bucket")
    assert set(buckets) == {"ServerlessDeploymentBucket", "ArchiveBucket"}
    for name, bucket in buckets.items():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms"), name
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
        ), name
        assert any(_refuses_plain_http(policy, name) for policy in _policies_of(stack, name)), name


def _policies_of(stack: Stack, bucket: str) -> list[dict[str, Any]]:
    policies = stack.of_type("AWS::S3::BucketPolicy").values()
    return [policy for policy in policies if policy["Bucket"] == f"<{bucket}>"]


def _refuses_plain_http(policy: dict[str, Any], bucket: str) -> bool:
    return any(
        said["Effect"] == "Deny"
        and said["Principal"] == "*"
        and said["Action"] == "s3:*"
        and len(said["Resource"]) == 2
        and all(bucket in resource for resource in said["Resource"])
        and str(said["Condition"]["Bool"]["aws:SecureTransport"]).lower() == "false"
        for said in policy["PolicyDocument"]["Statement"]
    )


def test_nothing_is_opened_to_the_world(stack: Stack) -> None:
    for name, policy in stack.of_type("AWS::S3::BucketPolicy").items():
        allowed = [said for said in policy["PolicyDocument"]["Statement"] if said["Effect"] == "Allow"]
        assert not [said for said in allowed if said["Principal"] == "*"], name
    for name, permission in stack.of_type("AWS::Lambda::Permission").items():
        assert permission["Principal"] == "apigateway.amazonaws.com", name
        assert "<HttpApi>" in permission["SourceArn"], name
    assert not stack.of_type("AWS::Lambda::Url")


def test_the_archive_outlives_its_stage_and_keeps_no_older_version_for_ever(stack: Stack) -> None:
    for name in ("ArchiveBucket", "ArchiveBucketPolicy"):
        resource = stack.resources[name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (
            "RetainExceptOnCreate",
            "Retain",
        )
    bucket = stack.resources["ArchiveBucket"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert rules["older-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert rules["uploads-that-broke-off"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    # What is archived is never thrown away by a rule.
    assert not [rule for rule in rules.values() if "ExpirationInDays" in rule or "ExpirationDate" in rule]


def test_what_the_archive_may_be_switched_to_is_cold(switched: Any) -> None:
    bucket = switched("everything on").resources["ArchiveBucket"]["Properties"]
    (cold,) = (rule for rule in bucket["LifecycleConfiguration"]["Rules"] if rule["Id"] == "cold")
    assert cold["Transitions"] == [{"StorageClass": "GLACIER_IR", "TransitionInDays": 30}]


def test_queues_are_encrypted(stack: Stack) -> None:
    for name, queue in stack.of_type("AWS::SQS::Queue").items():
        assert queue["SqsManagedSseEnabled"] is True, name


def test_every_log_is_kept_for_a_while_and_not_for_ever(stack: Stack) -> None:
    groups = stack.of_type("AWS::Logs::LogGroup")
    names = {group["LogGroupName"] for group in groups.values()}
    assert names == {f"/aws/lambda/latchkey-{stack.stage}-{name}" for name in FUNCTIONS} | {
        f"/aws/http-api/latchkey-{stack.stage}"
    }
    assert all(7 <= group["RetentionInDays"] <= 400 for group in groups.values())


def test_functions_log_json_and_are_traced(stack: Stack) -> None:
    for name in FUNCTIONS:
        function = stack.function(name)
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert function["LoggingConfig"]["ApplicationLogLevel"] == "INFO"
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_the_gateways_log_is_json_and_names_neither_paths_nor_people(stack: Stack) -> None:
    (stage,) = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert set(line.values()) == {
        f"$context.{name}"
        for name in (
            "requestTimeEpoch",
            "requestId",
            "integration.requestId",
            "httpMethod",
            "routeKey",
            "status",
            "responseLength",
            "responseLatency",
            "integrationLatency",
            "integrationStatus",
            "error.responseType",
        )
    }


def test_what_a_stage_says_in_its_config_are_texts() -> None:
    """A number or a truth would reach the function as YAML spells it."""
    import yaml

    for file in (ROOT / "config").glob("*.yml"):
        settings = yaml.safe_load(file.read_text()).get("settings", {})
        assert all(isinstance(value, str) for value in settings.values()), file.name
