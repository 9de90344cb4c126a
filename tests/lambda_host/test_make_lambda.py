"""`make lambda` says what is wrong in a sentence; and what its functions write is told as lines that one can read along."""

import json
import re
import socket
import subprocess
import sys

import pytest

from dev.lambda_host.logs import Line
from dev.lambda_host.service import told_apart
from dev.lambda_host.telling import readable
from tests.databases import ROOT


def _said(*arguments: str, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "dev.lambda_host", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_port_that_is_taken_is_said_before_anything_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = _said("--port", str(port))
    assert code == 1
    assert re.search(rf"^latchkey  Port {port} cannot be used .*: make lambda PORT={port + 1}$", said, re.M)
    assert "postgres" not in said


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"PORT": "many"}, "PORT is 'many'; accepted: a whole number from 1 to 65535."),
        ({"TURN_BUDGET_S": "soon"}, "TURN_BUDGET_S is 'soon'; accepted: a whole number from 1 to 890"),
        ({"LATCHKEY_TARGET_PYTHON": "/nonexistent"}, "There is no Python 3.13"),
    ],
)
def test_what_is_wrong_is_a_sentence(environ: dict[str, str], sentence: str) -> None:
    code, said = _said(**environ)
    assert code == 1
    assert sentence in said
    assert "Traceback" not in said


def test_settings_are_told_apart_as_the_template_tells_them_apart() -> None:
    given = {
        "DATABASE_URL": "postgresql://a/b",
        "ANTHROPIC_MODEL": "a-model",
        "ADMIN_TOKEN": " ",
        "QUEUE_URL": "https://sqs.example.com/of-somebody-else",
        "HOME": "/root",
    }
    assert told_apart(given) == ({"ANTHROPIC_MODEL": "a-model"}, {"DATABASE_URL": "postgresql://a/b"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps({"level": "INFO", "message": "done", "turn": "7"}), "api-3  INFO  done  turn 7"),
        (
            json.dumps(
                {"level": "ERROR", "errorType": "KeyError", "errorMessage": "'a'", "stackTrace": ["  at a\n"]}
            ),
            "api-3  ERROR  KeyError: 'a'\n  at a",
        ),
        (json.dumps({"_aws": {}, "Cleanups": 1}), None),
        (
            json.dumps(
                {
                    "_aws": {},
                    "turn": "7",
                    "status": "completed",
                    "agent": "billing",
                    "TurnTime": 80.4,
                    "ModelTime": 70,
                }
                | {"ToolTime": 0, "TurnOverhead": 10.4}
            ),
            "api-3  INFO  turn 7 completed by billing in 80 ms: model 70, tools 0, all else 10",
        ),
        ("START RequestId: 1 Version: $LATEST", None),
        ("REPORT RequestId: 1 Duration: 5.00 ms", None),
        (
            "REPORT RequestId: 1 Duration: 5.00 ms Status: timeout 1 Task timed out after 0.01 seconds",
            "api-3  REPORT RequestId: 1 Duration: 5.00 ms Status: timeout 1 Task timed out after 0.01 seconds",
        ),
        ("latchkey  Wrong settings:", "api-3  latchkey  Wrong settings:"),
        ("", None),
    ],
)
def test_a_line_is_told_for_somebody_who_reads_along(text: str, told: str | None) -> None:
    assert readable(Line("api", 3, text)) == told
