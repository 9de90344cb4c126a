"""`make deploy`, from nothing to a service that answers; then again; then with each step failing in turn."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from dev.demo_model import DemoModel, Fault
from dev.deploy import deployment
from dev.deploy.deployment import Wanted
from tests.databases import run
from tests.deploy.conftest import Deploys, Stops
from tests.deploy.stand_in import Answer, StandIn
from tests.streams.conftest import Serve

KEYS = json.dumps({"2026-11": "k" * 64})
INVOKED = 'invoke latchkey-dev-migrate {"command": "upgrade"}'
DEPLOYED = "osls deploy --stage dev"
NO_TURN = Wanted(turn=False)


@contextmanager
def answering(answers: dict[str, tuple[int, dict[str, Any]]]) -> Iterator[str]:
    """A service that says these."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, said = answers[self.path.partition("?")[0]]
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            """Goes away."""

        def log_message(self, *_: object) -> None:
            """Not aloud."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def healthy(world: StandIn) -> Iterator[None]:
    answers = {"/health": (200, {"status": "ok"}), "/ready": (200, {"status": "ready", "schema": "0006"})}
    with answering(answers) as world.url:
        yield


# ---- all is well


def test_from_nothing_to_a_turn_that_is_answered(
    world: StandIn, deploys: Deploys, serve: Serve, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service is a real one; what was said to try it is gone afterwards."""
    (server,) = serve(1, ACCESS_MODE="bound", DEVICE_TOKEN_KEYS=KEYS)
    world.url = f"http://127.0.0.1:{server.port}"
    deploys()
    assert world.calls == [DEPLOYED, INVOKED]
    said = capsys.readouterr().out
    steps = [line.split()[1] for line in said.splitlines() if not line.startswith("latchkey   ")]
    assert steps == ["look", "secret", "package", "deploy", "migrate", "smoke", "turn", "latchkey-dev"]
    assert "123456789012, eu-central-1, as arn:aws:" in said
    assert "no stack yet; osls 4.3.1" in said
    assert "latchkey/dev holds ANTHROPIC_API_KEY, DATABASE_URL, DEVICE_TOKEN_KEYS" in said
    assert "Service deployed to stack" in said
    assert "from nothing to 0006" in said
    assert "a turn was answered in " in said
    assert "latchkey-dev-archive-1" in said
    assert not [secret for secret in ("the-password", "the-key", "kkkk") if secret in said]
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(0,)]
    assert run(database_url, "SELECT count(*) FROM erasures WHERE ended_at IS NOT NULL") == [(1,)]


def test_in_jwt_mode_no_turn_is_tried(
    world: StandIn, deploys: Deploys, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    (server,) = serve(1, ACCESS_MODE="jwt")
    world.url = f"http://127.0.0.1:{server.port}"
    deploys()
    assert "no turn was tried: ACCESS_MODE is jwt" in capsys.readouterr().out


def test_a_later_release_migrates_before_anything_of_it_serves(
    world: StandIn, deploys: Deploys, healthy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    deploys(NO_TURN)
    before = world.client("lambda").get_function(FunctionName="latchkey-dev-migrate")["Configuration"]
    world.calls.clear()
    code: list[str] = []

    def migrates(_asked: dict[str, Any]) -> dict[str, Any]:
        now = world.client("lambda").get_function(FunctionName="latchkey-dev-migrate")["Configuration"]
        code.append(now["CodeSha256"])
        return {"from": "0005", "to": "0006", "head": "0006", "migrated": ["0006"]}

    world.migrates = migrates
    capsys.readouterr()
    deploys(NO_TURN)
    assert world.calls == [INVOKED, DEPLOYED]
    assert code != [before["CodeSha256"]], "it migrated with the code of the release before"
    assert "from 0005 to 0006" in capsys.readouterr().out


def test_a_database_that_is_there_already_is_said_to_be(
    world: StandIn, deploys: Deploys, healthy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    world.migrates = lambda _asked: {"from": "0006", "to": "0006", "head": "0006", "migrated": []}
    deploys(NO_TURN)
    assert "at 0006 already" in capsys.readouterr().out


def test_the_database_may_be_left_alone(world: StandIn, deploys: Deploys, healthy: None) -> None:
    deploys(Wanted(migrate=False, turn=False))
    deploys(Wanted(migrate=False, turn=False))
    assert world.calls == [DEPLOYED, DEPLOYED]


def test_osls_is_who_we_are_whatever_else_it_could_be(
    world: StandIn, deploys: Deploys, healthy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the profile, and deploy to another account than the one that was shown and migrated."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "ours"),
        ("AWS_SECRET_ACCESS_KEY", "our-secret"),
        ("AWS_DEV_PROFILE", "another"),
        ("AWS_DEV_ACCESS_KEY_ID", "another"),
        ("AWS_DEV_SECRET_ACCESS_KEY", "another"),
        ("AWS_DEFAULT_PROFILE", "another"),
    ):
        monkeypatch.setenv(name, value)
    (world.place / "config").write_text("[profile another]\naws_access_key_id = another\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(world.place / "config"))
    monkeypatch.setenv("AWS_PROFILE", "another")
    # As a process that begins: what is known of profiles was read before.
    world.account.__dict__.pop("_session")
    deploys(NO_TURN)
    told = {name: value for name, value in world.as_whom.items() if "KEY" in name or "PROFILE" in name}
    assert told == {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "our-secret"}


def test_what_is_not_committed_is_said(
    deploys: Deploys, healthy: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for found, said in (
        ("0123456789abcdef", "of 0123456789ab "),
        ("0123456789abcdef-dirty", "and changes that are not committed"),
    ):
        monkeypatch.setattr(deployment, "commit", lambda *_, found=found: found)
        deploys(NO_TURN)
        assert said in capsys.readouterr().out


# ---- each step fails


def test_without_the_zip_nothing_is_changed(world: StandIn, stops: Stops) -> None:
    stopped = stops(package_ends=1)
    assert str(stopped).splitlines() == [
        "The zip could not be made.",
        "          What to do: see what it says above",
        "          As it stands: nothing has been changed",
    ]
    assert world.calls == []


def test_a_migration_that_fails_leaves_the_release_before_serving(
    world: StandIn, deploys: Deploys, stops: Stops, healthy: None
) -> None:
    deploys(NO_TURN)
    world.calls.clear()
    world.migrates = lambda _asked: {
        "errorMessage": "database_newer: the database is at revision 0009",
        "errorType": "NotMigrated",
    }
    stopped = stops()
    assert world.calls == [INVOKED], "something was deployed after a migration that failed"
    assert stopped.what == ("The database was not migrated: database_newer: the database is at revision 0009")
    assert "make deploy STAGE=dev MIGRATE=no" in stopped.to_do
    assert stopped.stands.startswith("the release before goes on serving")


@pytest.mark.parametrize(
    ("answer", "what", "to_do"),
    [
        ({"errorMessage": "database_locked: somebody else migrates"}, "database_locked", "try again"),
        (
            {"errorMessage": "database_unavailable: no route"},
            "no route",
            "DATABASE_URL in the secret latchkey/dev",
        ),
        (
            {"errorMessage": "Task timed out after 300.00 seconds"},
            "timed out",
            "/aws/lambda/latchkey-dev-migrate",
        ),
        ({"something": "else"}, "something", "/aws/lambda/latchkey-dev-migrate"),
        ({"errorMessage": "it died", "to": "0006", "head": "0006"}, "it died", "/aws/lambda/latchkey-dev"),
        ({"from": "0005", "to": "0005", "head": "0006"}, "at 0005 after migrating, and not at 0006", "log"),
    ],
)
def test_each_way_of_not_migrating_says_what_to_do(
    world: StandIn, stops: Stops, answer: dict[str, Any], what: str, to_do: str
) -> None:
    world.migrates = lambda _asked: answer
    stopped = stops()
    assert what in stopped.what
    assert to_do in stopped.to_do
    assert stopped.stands == "the stage is there, and answers 503 until its database is migrated"


def test_a_first_deployment_that_fails_has_to_be_removed(world: StandIn, stops: Stops) -> None:
    def deploys(world: StandIn) -> Answer:
        world.make_stack()
        world.becomes(
            "ROLLBACK_COMPLETE", ("Queue", "it exists already"), ("ApiRole", "Resource creation cancelled")
        )
        return "Error: CREATE_FAILED", 1

    world.deploys = deploys
    stopped = stops()
    assert stopped.what == "osls deploy failed. Queue: it exists already"
    assert "make remove STAGE=dev and make deploy STAGE=dev" in stopped.to_do
    assert stopped.stands == "the stack is ROLLBACK_COMPLETE: nothing of it serves"
    assert world.calls == [DEPLOYED]
    # And said before anything is begun the next time.
    again = stops()
    assert "ROLLBACK_COMPLETE: it was never made as a whole" in again.what
    assert again.stands == "nothing has been changed"
    assert world.calls == [DEPLOYED]


def test_a_first_change_that_is_taken_back_may_be_tried_again(
    world: StandIn, deploys: Deploys, stops: Stops, healthy: None
) -> None:
    """osls makes a stack of its bucket alone before; what is left then is a stack like any other, without a function to migrate by."""

    def fails(world: StandIn) -> Answer:
        world.make_bucket()
        world.becomes("UPDATE_ROLLBACK_COMPLETE", ("Queue", "it exists already"))
        return "Error: UPDATE_FAILED", 1

    world.deploys = fails
    stopped = stops()
    assert stopped.what == "osls deploy failed. Queue: it exists already"
    assert stopped.to_do == "mend what it says; then make deploy STAGE=dev"
    assert stopped.stands == "the stack is UPDATE_ROLLBACK_COMPLETE: nothing of it serves"
    world.calls.clear()
    world.deploys = lambda world: world.make_stack()
    deploys(NO_TURN)
    assert world.calls == [DEPLOYED, INVOKED]


def test_a_change_that_fails_is_taken_back(
    world: StandIn, deploys: Deploys, stops: Stops, healthy: None
) -> None:
    deploys(NO_TURN)

    def fails(world: StandIn) -> Answer:
        world.becomes("UPDATE_ROLLBACK_COMPLETE", ("ApiLambdaFunction", "memory is not a number"))
        return "Error: UPDATE_FAILED", 1

    world.deploys = fails
    stopped = stops()
    assert "ApiLambdaFunction: memory is not a number" in stopped.what
    assert stopped.stands == "the stack is UPDATE_ROLLBACK_COMPLETE: the release before goes on serving"
    world.deploys = lambda world: world.make_stack()
    deploys(NO_TURN)


def test_one_that_fails_before_cloudformation_says_that_nothing_was_made(
    world: StandIn, stops: Stops
) -> None:
    world.deploys = lambda _world: ("Error: Cannot resolve variable", 1)
    stopped = stops()
    assert stopped.stands == "there is no stack: nothing was made"


@pytest.mark.parametrize(
    ("status", "to_do"),
    [
        ("UPDATE_IN_PROGRESS", "try again when it is done"),
        (
            "UPDATE_ROLLBACK_FAILED",
            "continue-update-rollback --region eu-central-1 --stack-name latchkey-dev",
        ),
        ("ROLLBACK_FAILED", "make remove STAGE=dev"),
        ("DELETE_FAILED", "make remove STAGE=dev"),
    ],
)
def test_a_stack_that_cannot_be_changed_is_left_alone(
    world: StandIn, stops: Stops, status: str, to_do: str
) -> None:
    world.make_stack()
    world.becomes(status)
    stopped = stops()
    assert status in stopped.what
    assert to_do in stopped.to_do
    assert world.calls == []


def test_a_service_that_is_not_ready_is_said_to_be_live_all_the_same(
    world: StandIn, stops: Stops, impatient: None
) -> None:
    away = {"code": "database_unavailable", "detail": "The database cannot be reached."}
    with answering({"/health": (200, {}), "/ready": (503, away)}) as world.url:
        stopped = stops()
    assert (
        "/ready does not answer as it should: 503 database_unavailable: The database cannot be"
        in stopped.what
    )
    assert "that functions reach it" in stopped.to_do
    assert stopped.stands.startswith(
        f"this release is live at {world.url}. To go back: make deploy STAGE=dev"
    )


def test_a_service_that_does_not_answer_at_all(world: StandIn, stops: Stops, impatient: None) -> None:
    stopped = stops()
    assert "ConnectError" in stopped.what
    assert "/aws/lambda/latchkey-dev-api" in stopped.to_do


def test_a_service_that_goes_away_in_the_middle_of_the_turn_is_told_like_the_rest(
    world: StandIn, stops: Stops, healthy: None
) -> None:
    stopped = stops()
    assert "A turn was tried, and http://127.0.0.1" in stopped.what
    assert "/aws/lambda/latchkey-dev-api" in stopped.to_do
    assert stopped.stands.startswith("this release is live")


def test_a_turn_that_fails_is_no_success(
    world: StandIn, stops: Stops, serve: Serve, model: DemoModel, database_url: str
) -> None:
    """The key for the model is wrong, and nothing else shows it."""
    (server,) = serve(1, ACCESS_MODE="bound", DEVICE_TOKEN_KEYS=KEYS)
    world.url = f"http://127.0.0.1:{server.port}"
    for _ in range(5):
        model.faults.add(Fault.status(401))
    stopped = stops()
    assert "A turn was tried, and is failed" in stopped.what
    assert "ANTHROPIC_API_KEY" in stopped.to_do
    assert "this release is live" in stopped.stands
    assert run(database_url, "SELECT count(*) FROM conversation_states") == [(0,)]
