"""The doctor as an operator runs it."""

import json
import subprocess
import sys
from uuid import uuid4

from core.house import House
from tests.conversations import answer, arrival
from tests.databases import ROOT, run


def doctor(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dev.doctor", *options],
        cwd=ROOT,
        env={"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_says_what_ails_and_mends_it_and_never_what_was_said(house: House, database_url: str) -> None:
    secret = "hunter" + "2"
    answer(house, arrival(uuid4(), secret))
    sick = answer(house, arrival(uuid4(), secret))
    run(
        database_url,
        "UPDATE messages SET left_out = true WHERE session_id = %s AND seq = 1",
        str(sick.session_id),
    )

    looked = doctor(database_url)
    assert looked.returncode == 1, looked.stderr
    assert looked.stdout.splitlines() == [
        f"{sick.session_id}  begins_with_the_model: message 2 is the model's, and the first of all; "
        "the model is told of it no more (not mended)",
        "checked 2 conversations, 4 messages: 1 ailments in 1 of them; run it again with --fix to mend them",
    ]
    as_json = doctor(database_url, "--json", "--session", str(sick.session_id))
    assert json.loads(as_json.stdout)["code"] == "begins_with_the_model"

    mended = doctor(database_url, "--fix")
    assert mended.returncode == 0
    assert mended.stdout.endswith("1 ailments in 1 of them, all mended\n")
    assert doctor(database_url).stdout == "checked 2 conversations, 4 messages: all is well\n"
    assert secret not in looked.stdout + as_json.stdout + mended.stdout


def test_what_it_cannot_check_it_says_in_one_line(database_url: str) -> None:
    for url, said in (
        ("", "DATABASE_URL is not set"),
        ("postgresql://nobody@127.0.0.1:1/x", "cannot be used"),
    ):
        failed = doctor(url)
        assert failed.returncode == 2
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr
    assert doctor(database_url, "--session", str(uuid4())).returncode == 2
