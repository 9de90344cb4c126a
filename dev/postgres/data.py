"""The data folder: made whole or not at all, and looked at before it is used."""

import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from dev.postgres.account import Account
from dev.postgres.failure import PostgresFailed
from dev.postgres.log import ServerLog
from dev.postgres.processes import until
from dev.postgres.programs import MAJOR_VERSION

INITDB_TIMEOUT_S = 120.0
ORPHAN_TIMEOUT_S = 10.0


def initialise(data: Path, install: Path, account: Account, log: ServerLog, *, sync: bool) -> None:
    for half_done in data.parent.glob("data.new-*"):
        until(partial(_is_removed, half_done), ORPHAN_TIMEOUT_S)
    if data.exists() and any(data.iterdir()):
        return _check(data, account)
    fresh = Path(tempfile.mkdtemp(prefix="data.new-", dir=data.parent))
    try:
        account.take_over(fresh)
        _run_initdb(fresh, install, account, log, sync=sync)
        fresh.rename(data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check(data: Path, account: Account) -> None:
    version = data / "PG_VERSION"
    if not version.exists():
        raise PostgresFailed(f"{data} holds something that is not Postgres data; move it away.")
    if data.stat().st_uid != account.uid:
        raise PostgresFailed(
            f"{data} belongs to uid {data.stat().st_uid}, and Postgres would run as `{account.name}`; "
            "use it as the user who made it, or remove it."
        )
    if (found := version.read_text().strip()) != MAJOR_VERSION:
        raise PostgresFailed(f"{data} was made by Postgres {found}, not {MAJOR_VERSION}; move it away.")


def _run_initdb(folder: Path, install: Path, account: Account, log: ServerLog, *, sync: bool) -> None:
    command: list[str | Path] = [
        install / "bin" / "initdb",
        "-D",
        folder,
        "-U",
        "postgres",
        "--auth=trust",
    ]
    command += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
    if not sync:
        command.append("--no-sync")
    # Output goes to the file: a pipe would be held open by anything that initdb leaves behind.
    with log.path.open("ab") as output:
        try:
            done = subprocess.run(
                command,
                stdout=output,
                timeout=INITDB_TIMEOUT_S,
                check=False,
                **account.spawn_arguments(),
            )
        except subprocess.TimeoutExpired:
            raise log.failure(f"initdb took longer than {INITDB_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        raise log.failure("initdb could not make the data folder")


def _is_removed(folder: Path) -> bool:
    """To be tried again: an initdb whose user was killed goes on writing, until it misses what was removed here."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
