"""GitHub runs what a person runs, with no more rights than that takes."""

import re
from functools import cache
from typing import Any, Final

import pytest
import yaml

from tests.template.stack import ROOT

WORKFLOWS: Final = ROOT / ".github" / "workflows"
TARGETS: Final = set(re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text()))


@cache
def workflow(name: str) -> dict[str, Any]:
    # YAML takes the word `on` for a truth.
    found: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text())
    return {"on" if key is True else key: value for key, value in found.items()}


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


def made(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if step.get("run", "").startswith("make ")]


def test_these_are_all() -> None:
    assert {file.name for file in WORKFLOWS.iterdir()} == {"ci.yml", "deploy.yml"}


def test_each_change_is_checked_tested_and_packaged() -> None:
    assert made("ci.yml") == ["make check", "make test", "make package"]
    assert set(workflow("ci.yml")["on"]) == {"push", "pull_request", "workflow_call"}


def test_what_ci_leaves_out_here_it_leaves_out_nowhere() -> None:
    (tested,) = (step for step in steps("ci.yml") if step.get("run") == "make test")
    assert tested["env"] == {"LATCHKEY_LEAVES_OUT_NOTHING": "1"}


def test_it_is_the_same_that_runs_before_a_change_lands() -> None:
    before = (ROOT / ".ci" / "run").read_text()
    assert "\nmake check\n" in before
    assert re.search(r"(?m)^(if ! )?LATCHKEY_LEAVES_OUT_NOTHING=1 .*\bmake test(; then)?$", before)


def test_a_tag_is_tested_and_then_deployed_by_the_same_command() -> None:
    assert workflow("deploy.yml")["on"] == {"push": {"tags": ["v*"]}}
    assert made("deploy.yml") == ["make template", "make deploy STAGE=prod"]
    jobs = workflow("deploy.yml")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["deploy"]["needs"] == "test"
    assert jobs["deploy"]["environment"] == "production"
    assert workflow("deploy.yml")["concurrency"]["cancel-in-progress"] is False


@pytest.mark.parametrize("name", ["ci.yml", "deploy.yml"])
def test_every_target_is_in_the_makefile(name: str) -> None:
    assert {command.split()[1] for command in made(name)} <= TARGETS | {"package"}


def test_only_the_deployment_may_ask_github_to_vouch_for_it() -> None:
    assert workflow("ci.yml")["permissions"] == {"contents": "read"}
    assert workflow("deploy.yml")["permissions"] == {}
    jobs = workflow("deploy.yml")["jobs"]
    assert jobs["test"]["permissions"] == {"contents": "read"}
    assert jobs["deploy"]["permissions"] == {"contents": "read", "id-token": "write"}


@pytest.mark.parametrize("name", ["ci.yml", "deploy.yml"])
def test_actions_are_named_by_their_commit_and_no_key_is_kept(name: str) -> None:
    """A tag can be put elsewhere by whoever gets hold of the action's repository, and one of them runs with AWS's credentials."""
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used), used
    told = re.findall(r"uses: [\w-]+/[\w-]+@\w+ # v\d+\.\d+\.\d+\n", (WORKFLOWS / name).read_text())
    assert len(told) == len(used), "which release it is"
    assert "secrets." not in (WORKFLOWS / name).read_text()
    for step in steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_is_fetched_is_fetched_before_there_are_credentials() -> None:
    """`make template` installs packages and osls, and makes the zip; `make deploy` finds them there."""
    order = [step.get("run") or step["uses"].partition("@")[0] for step in steps("deploy.yml")]
    assert order[-3:] == ["make template", "aws-actions/configure-aws-credentials", "make deploy STAGE=prod"]


def test_the_role_is_assumed_by_oidc() -> None:
    (credentials,) = (
        step for step in steps("deploy.yml") if "configure-aws-credentials" in step.get("uses", "")
    )
    assert set(credentials["with"]) == {"role-to-assume", "role-session-name", "aws-region"}
    assert credentials["with"]["role-to-assume"] == "${{ vars.AWS_DEPLOY_ROLE }}"


def test_the_python_of_lambda_is_there() -> None:
    from dev.package.target import PYTHON

    for name in ("ci.yml", "deploy.yml"):
        (python,) = (step for step in steps(name) if "setup-python" in step.get("uses", ""))
        assert PYTHON in python["with"]["python-version"].split()


def test_what_comes_by_npm_is_pinned_and_brings_nothing_that_runs_at_its_installation() -> None:
    import json

    package = json.loads((ROOT / "package.json").read_text())
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert package["devDependencies"] == {
        name: lock[f"node_modules/{name}"]["version"] for name in ("axe-core", "osls")
    }
    others = {name: entry for name, entry in lock.items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in others.values())
    assert all(entry["resolved"].startswith("https://registry.npmjs.org/") for entry in others.values())
    assert "npm ci --ignore-scripts" in (ROOT / "Makefile").read_text()
