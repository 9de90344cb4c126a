"""What is looked at before anything is begun: the stage, who we are, osls, and the secret; and making that."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from dev.deploy.__main__ import main
from dev.deploy.account import Account
from dev.deploy.alone import alone
from dev.deploy.osls import Osls
from dev.deploy.secret import StagesSecret, given_by, read_object
from dev.deploy.stage import Stage, read_stage
from dev.deploy.stopped import Stopped
from tests.deploy.conftest import SECRET, Deploys, Stops
from tests.deploy.stand_in import StandIn


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the command ends with."""
    monkeypatch.setattr("sys.argv", ["dev.deploy", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return str(ended.value)


# ---- the stage


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "name one: make deploy STAGE=dev. There are dev, prod."),
        ("Prod!", "at most 20 small letters"),
        ("staging", "copy config/dev.yml to config/staging.yml"),
    ],
)
def test_a_stage_that_is_none_is_refused_with_what_to_do(name: str, said: str) -> None:
    with pytest.raises(Stopped) as stopped:
        read_stage(name)
    assert said in str(stopped.value)


def test_a_stage_that_was_added_as_said_is_one(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "staging.yml").write_text((root / "config" / "dev.yml").read_text())
    with pytest.raises(Stopped) as stopped:
        read_stage("staging", root)
    (line,) = re.findall(r"staging: \$\{file\(.*\)\}", stopped.value.to_do)
    text = (root / "serverless.yml").read_text().replace("params:\n", f"params:\n  {line}\n", 1)
    (tmp_path / "serverless.yml").write_text(text)
    staging = read_stage("staging", tmp_path)
    assert (staging.stack, staging.secret, staging.region) == (
        "latchkey-staging",
        "latchkey/staging",
        "eu-central-1",
    )


def _with_settings(root: Path, said: str) -> str:
    (root / "config").mkdir()
    (root / "config" / "dev.yml").write_text(f"region: eu-central-1\nsettings:\n  {said}\n")
    (root / "serverless.yml").write_text("params:\n  dev: ${file(config/dev.yml)}\nprovider:\n")
    with pytest.raises(Stopped) as stopped:
        read_stage("dev", root)
    return str(stopped.value)


def test_a_secret_in_the_stages_config_is_not_deployed(tmp_path: Path) -> None:
    """It would stand in the functions' environment, and in the template."""
    said = _with_settings(tmp_path, "ANTHROPIC_API_KEY: the-key")
    assert said.startswith("config/dev.yml holds what is secret: ANTHROPIC_API_KEY.")
    assert "the-key" not in said


def test_a_setting_that_is_no_text_is_told_how_to_be_one(tmp_path: Path) -> None:
    assert "other than a text under settings: SESSION_TTL." in _with_settings(tmp_path, "SESSION_TTL: 600")


# ---- who we are


def test_without_credentials_it_says_how_to_sign_in(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        said = called(monkeypatch, "--stage", "dev")
    assert said.splitlines() == [
        "latchkey  There are no AWS credentials here.",
        "          What to do: sign in first: `aws sso login` or `aws configure`, and AWS_PROFILE names the profile if there are several",
        "          As it stands: nothing has been changed",
    ]


def test_without_osls_it_says_where_it_comes_from() -> None:
    with pytest.raises(Stopped, match="osls, which deploys, does not run") as stopped:
        Osls(["/nowhere/osls"]).version()
    assert "npm ci" in stopped.value.to_do


def test_a_second_one_from_the_same_folder_is_turned_away(tmp_path: Path) -> None:
    """It could send what osls has written there for the first one, which may be another stage."""
    with alone(tmp_path / "build" / "lock"):
        with (
            pytest.raises(Stopped, match="from this folder already") as stopped,
            alone(tmp_path / "build" / "lock"),
        ):
            pytest.fail("it was let in")
        assert stopped.value.stands == "nothing has been changed"
    with alone(tmp_path / "build" / "lock"):
        """The first is done."""


@pytest.mark.parametrize("command", ["deploy", "remove"])
def test_both_commands_that_change_something_are_alone(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def taken() -> None:
        raise Stopped("taken")

    monkeypatch.setattr("dev.deploy.__main__.alone", taken)
    assert "taken" in called(monkeypatch, command, "--stage", "dev")


# ---- the secret


def test_without_a_secret_it_says_the_one_command_that_makes_it(world: StandIn, stops: Stops) -> None:
    world.client("secretsmanager").delete_secret(SecretId="latchkey/dev", ForceDeleteWithoutRecovery=True)
    stopped = stops()
    assert stopped.what == "There is no secret latchkey/dev in eu-central-1."
    assert stopped.to_do.startswith("make secret STAGE=dev asks")
    assert world.calls == []


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ('["a list"]', "not a JSON object"),
        ("postgresql://the-password", "not a JSON object"),
        (json.dumps({**SECRET, "ANTHROPIC_API_KEY": ""}), "ANTHROPIC_API_KEY is missing"),
        (
            json.dumps({**SECRET, "DATABASE_URL": "mysql://the-password"}),
            "DATABASE_URL is a value that is not shown",
        ),
        (
            json.dumps({**SECRET, "DEVICE_TOKEN_KEYS": {"2026": "short"}}),
            "DEVICE_TOKEN_KEYS is a value that is not shown",
        ),
        (json.dumps({**SECRET, "DEVICE_TOKEN_KEYS": None}), "DEVICE_TOKEN_KEYS is not set"),
        (
            json.dumps({**SECRET, "DATABSE_URL": "the-password"}),
            "DATABSE_URL is no secret that the service knows",
        ),
    ],
)
def test_a_secret_that_would_not_do_is_found_before_anything_is_begun(
    world: StandIn, stops: Stops, held: str, said: str
) -> None:
    world.client("secretsmanager").put_secret_value(SecretId="latchkey/dev", SecretString=held)
    stopped = stops()
    assert said in stopped.what
    assert "the-password" not in str(stopped)
    assert stopped.stands == "nothing has been changed"
    assert world.calls == []


class _MayNotRead:
    """Secrets Manager, for a role that may not read: moto has everybody do everything."""

    class exceptions:  # noqa: N801 - boto3 calls it so
        ResourceNotFoundException = KeyError

    def get_secret_value(self, **_: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetSecretValue")


def test_whoever_deploys_need_not_be_able_to_read_it(
    world: StandIn, stops: Stops, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = Account.client

    def client(account: Account, service: str, **more: object) -> Any:
        return _MayNotRead() if service == "secretsmanager" else clients(account, service, **more)

    monkeypatch.setattr(Account, "client", client)
    world.deploys = lambda _world: ("Error", 1)
    stops()
    assert "latchkey/dev holds what we may not read" in capsys.readouterr().out
    assert world.calls == ["osls deploy --stage dev"]


def held(account: Account) -> dict[str, str]:
    text = account.client("secretsmanager").get_secret_value(SecretId="latchkey/dev")["SecretString"]
    return dict(json.loads(text))


def test_it_is_made_of_two_answers_and_what_nobody_need_choose(account: Account) -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "postgres://u:p@db/latchkey" if "database" in question else " the-key "

    names = StagesSecret(account).make(given_by(None, ask))
    assert names == ["ADMIN_TOKEN", "ANTHROPIC_API_KEY", "DATABASE_URL", "DEVICE_TOKEN_KEYS"]
    assert len(asked) == 2
    # Whoever writes what it shows is not open to one who stands between.
    assert "?sslmode=verify-full&sslrootcert=/var/task/certifi/cacert.pem" in asked[0]
    whole = held(account)
    assert whole["ANTHROPIC_API_KEY"] == "the-key"
    (key,) = json.loads(whole["DEVICE_TOKEN_KEYS"]).values()
    assert len(key) == 64
    assert StagesSecret(account).look() == names


def test_what_is_changed_is_changed_alone(account: Account, world: StandIn, tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text('{"ANTHROPIC_API_KEY": "another"}')
    StagesSecret(account).make(given_by(str(tmp_path / "new.json"), None))
    whole = held(account)
    assert whole.pop("ADMIN_TOKEN")
    assert {
        name: json.loads(value) if name == "DEVICE_TOKEN_KEYS" else value for name, value in whole.items()
    } == {
        **SECRET,
        "ANTHROPIC_API_KEY": "another",
    }


def test_one_that_would_not_do_is_not_made(account: Account) -> None:
    with pytest.raises(Stopped, match="DATABASE_URL is missing"):
        StagesSecret(account).make({"ANTHROPIC_API_KEY": "the-key"})
    assert StagesSecret(account).look() is None


def test_where_people_have_tokens_no_key_for_devices_is_made() -> None:
    with mock_aws():
        account = Account(Stage("dev", "eu-central-1", {"ACCESS_MODE": "jwt"}))
        given = {"DATABASE_URL": "postgres://u:p@db/latchkey", "ANTHROPIC_API_KEY": "the-key"}
        assert StagesSecret(account).make(given) == ["ADMIN_TOKEN", "ANTHROPIC_API_KEY", "DATABASE_URL"]


def test_make_secret_shows_names_and_nothing_else(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(SECRET))
    monkeypatch.setattr("sys.argv", ["", "secret", "--stage", "dev", "--from", str(tmp_path / "secret.json")])
    main()
    said = capsys.readouterr()
    assert "latchkey/dev holds ADMIN_TOKEN, ANTHROPIC_API_KEY, DATABASE_URL, DEVICE_TOKEN_KEYS" in said.out
    told = [value for value in (*held(account).values(), "kkkk") if value in said.out + said.err]
    assert not told


def test_nobody_there_to_ask_is_told_of_the_file(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "FROM=some.json" in called(monkeypatch, "secret", "--stage", "dev")


def test_what_is_typed_is_made_the_secret_in_the_middle_of_a_deployment(
    world: StandIn, monkeypatch: pytest.MonkeyPatch, deploys: Deploys
) -> None:
    from dev.deploy import deployment

    world.client("secretsmanager").delete_secret(SecretId="latchkey/dev", ForceDeleteWithoutRecovery=True)
    found = deployment._secret(
        world.account, lambda question: "postgres://u:p@db/l" if "database" in question else "k"
    )
    assert found == ["ADMIN_TOKEN", "ANTHROPIC_API_KEY", "DATABASE_URL", "DEVICE_TOKEN_KEYS"]


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(Stopped, match="cannot be read"):
        given_by("/nowhere/secret.json", None)
    assert read_object('{"A": {"b": "c"}, "D": null}', "it") == {"A": '{"b": "c"}'}
