"""Changing a secret as the runbook has it: what is pasted is run, with an `aws` that keeps the secret in a file."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.settings import read_settings
from tests import left_out
from tests.docs.pages import blocks, page

RUNBOOK = page("runbook.md")
SECRETS = blocks(RUNBOOK[RUNBOOK.index("# Secrets\n") : RUNBOOK.index("# Bringing back")], "sh")
AWS = """#!/bin/sh
case "$2" in
    get-secret-value) cat "$SECRET" ;;
    put-secret-value) cat > "$SECRET.new" && mv "$SECRET.new" "$SECRET" ;;
    update-function-configuration) echo "$4" >> "$SECRET.anew" ;;
    *) exit 1 ;;
esac
"""
BEFORE = {
    "DATABASE_URL": "postgresql://a@b/c",
    "ANTHROPIC_API_KEY": "old",
    "DEVICE_TOKEN_KEYS": {"2026-01": "k" * 64},
}

Paste = Callable[..., dict[str, Any]]


@pytest.fixture
def paste(tmp_path: Path) -> Paste:
    """Runs what stands in the block that holds these words, behind the definition of `edit`, and gives what the secret holds then."""
    if shutil.which("jq") is None:
        left_out.leave_out(
            "jq is missing, by which the runbook changes secrets; on Debian: apt-get install jq"
        )
    (tmp_path / "aws").write_text(AWS)
    (tmp_path / "aws").chmod(0o755)
    secret = tmp_path / "secret"

    def run(words: str, before: dict[str, Any], typed: str = "") -> dict[str, Any]:
        secret.write_text(json.dumps(before))
        (block,) = (block for block in SECRETS if words in block)
        environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SECRET": str(secret), "STAGE": "dev"}
        script = f"set -e\n{SECRETS[0]}\n{block}"
        subprocess.run(["bash", "-c", script], env=environ, input=typed, text=True, check=True)
        found: dict[str, Any] = json.loads(secret.read_text())
        return found

    return run


def test_the_claude_key_is_changed_and_nothing_else(paste: Paste) -> None:
    assert paste("ANTHROPIC_API_KEY", BEFORE, "new\n") == {**BEFORE, "ANTHROPIC_API_KEY": "new"}


@pytest.mark.parametrize("as_text", [False, True])
def test_a_new_device_key_signs_and_the_old_one_goes(paste: Paste, as_text: bool) -> None:
    keys = BEFORE["DEVICE_TOKEN_KEYS"]
    after = paste("fromjson", {**BEFORE, "DEVICE_TOKEN_KEYS": json.dumps(keys) if as_text else keys})
    assert list(after["DEVICE_TOKEN_KEYS"]) == ["2027-01"]
    assert read_settings({"DEVICE_TOKEN_KEYS": json.dumps(after["DEVICE_TOKEN_KEYS"])}).device_token_keys


def test_for_a_month_both_are_there_and_the_new_one_is_first(
    paste: Paste, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [block.partition('edit ".DEVICE_TOKEN_KEYS = ($KEYS')[0] for block in SECRETS]
    monkeypatch.setattr("tests.docs.test_secrets.SECRETS", both)
    assert list(paste("fromjson", BEFORE)["DEVICE_TOKEN_KEYS"]) == ["2027-01", "2026-01"]


def test_a_leaked_device_key_is_replaced_and_functions_begin_anew(paste: Paste, tmp_path: Path) -> None:
    after = paste("unset KEY; anew", BEFORE)["DEVICE_TOKEN_KEYS"]
    assert list(after) == ["2027-01"]
    assert len(after["2027-01"]) == 64
    begun = (tmp_path / "secret.anew").read_text().split()
    assert begun == ["latchkey-dev-api", "latchkey-dev-worker", "latchkey-dev-cleanup"]


def test_a_mistake_leaves_the_secret_as_it_is(paste: Paste, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_secrets.SECRETS", [*SECRETS, "edit '.KEY = ' || true  # a mistake"])
    assert paste("a mistake", BEFORE) == BEFORE
