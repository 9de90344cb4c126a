"""serverless.yml packs offline, with nothing in the environment, and what comes out is good CloudFormation."""

import json
import subprocess
import sys
from pathlib import Path

from tests.template.conftest import SWITCHED, Packs
from tests.template.stack import ROOT, STAGES, Stack, run

CFN_LINT = Path(sys.executable).parent / "cfn-lint"


def lint(*stacks: Stack) -> list[str]:
    command = [str(CFN_LINT), "--format", "json", "--", *(str(stack.file) for stack in stacks)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert said.stdout.startswith("["), said.stderr
    return [
        f"{match['Rule']['Id']}: {match['Message']}"
        for match in json.loads(said.stdout)
        # osls writes a DependsOn where a reference says the same already.
        if match["Rule"]["Id"] != "W3005"
    ]


def test_cfn_lint_has_nothing_to_say_of_either_stage(packed: Packs) -> None:
    assert lint(*map(packed, STAGES)) == []


def test_nor_with_the_switches_the_other_way(switched: Packs) -> None:
    assert lint(*map(switched, SWITCHED)) == []


def test_cfn_lint_would_say_it(packed: Packs, tmp_path: Path) -> None:
    broken = json.loads(packed("dev").file.read_text())
    broken["Resources"]["Queue"]["Properties"]["VisibilityTimeout"] = "soon"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    assert lint(Stack("dev", tmp_path / "broken.json"))


def test_in_a_vpc_each_function_is_in_it_and_may_be(switched: Packs) -> None:
    stack = switched("everything on")
    for name, function in stack.of_type("AWS::Lambda::Function").items():
        assert function["VpcConfig"]["SubnetIds"] == ["subnet-0a1b2c3d"], name
        role = function["Role"].strip("<>").partition(".")[0]
        assert any("ec2:CreateNetworkInterface" in said["Action"] for said in stack.statements(role)), name


def test_with_snap_start_the_gateway_calls_the_version_that_has_it(switched: Packs) -> None:
    stack = switched("everything on")
    assert stack.function("api")["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    (alias,) = stack.of_type("AWS::Lambda::Alias").values()
    (integration,) = stack.of_type("AWS::ApiGatewayV2::Integration").values()
    assert integration["IntegrationUri"] == f"<ApiLambdaFunction.Arn>:{alias['Name']}"


def test_without_an_archive_there_is_none(switched: Packs) -> None:
    stack = switched("no archive")
    assert set(stack.of_type("AWS::S3::Bucket")) == {"ServerlessDeploymentBucket"}
    assert stack.environment("api")["ARCHIVE_BUCKET"] == ""
    roles = (stack.statements(f"{name}Role") for name in ("Api", "Cleanup"))
    assert not [said for role in roles for said in role if "s3:" in str(said["Action"])]


def test_an_archive_that_is_there_is_used(switched: Packs) -> None:
    stack = switched("an archive that is there")
    assert set(stack.of_type("AWS::S3::Bucket")) == {"ServerlessDeploymentBucket"}
    assert stack.environment("cleanup")["ARCHIVE_BUCKET"] == "our-old-archive"
    (writes,) = (said for said in stack.statements("CleanupRole") if said.get("Sid") == "Archives")
    assert writes["Resource"] == "arn:aws:s3:::our-old-archive/users/*"


def test_behind_an_authorizer_people_show_tokens_and_preflights_do_not(
    switched: Packs,
) -> None:
    routes = {
        route["RouteKey"]: route.get("AuthorizationType", "NONE")
        for route in switched("everything on").of_type("AWS::ApiGatewayV2::Route").values()
    }
    assert routes == {
        "$default": "NONE",
        "ANY /v1/{proxy+}": "JWT",
        "OPTIONS /v1/{proxy+}": "NONE",
        "ANY /v1/admin/{proxy+}": "NONE",
    }


def test_a_stage_that_nobody_described_is_refused(tmp_path: Path) -> None:
    for needed in ("config", "stack"):
        (tmp_path / needed).symlink_to(ROOT / needed)
    (tmp_path / "serverless.yml").write_text((ROOT / "serverless.yml").read_text())
    said = run(tmp_path, "package", "--stage", "elsewhere")
    assert said.returncode != 0
    assert "region" in said.stdout + said.stderr


def test_the_stages_are_those_of_config() -> None:
    assert {file.stem for file in (ROOT / "config").glob("*.yml")} == set(STAGES)
