"""The zip itself: what is in it, and what is not."""

import hashlib
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dev.package.build import MOST_BYTES
from dev.package.ours import KINDS, ROOT
from dev.package.pruning import is_extension


@pytest.fixture(scope="module")
def names(shipped_zip: Path) -> list[str]:
    with zipfile.ZipFile(shipped_zip) as packed:
        return packed.namelist()


def test_of_ours_it_holds_the_allow_list_and_its_bytecode(names: list[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--", *KINDS], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    ).stdout.split()
    present = [path for path in listed if (ROOT / path).exists()]
    assert set(present) <= set(names)
    bytecode = {
        str(Path(path).parent / "__pycache__" / f"{Path(path).stem}.cpython-313.pyc")
        for path in present
        if path.endswith(".py")
    }
    assert bytecode <= set(names)
    beside = {name for name in names if name.startswith(("core/", "functions/"))}
    assert beside == {path for path in [*present, *bytecode] if path.startswith(("core/", "functions/"))}


def test_nothing_of_the_workbench_is_in_it(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert not tops & {
        "dev",
        "tests",
        "bench",
        "docs",
        "bin",
        "Makefile",
        "README.md",
        "requirements.txt",
        "build",
        "moto",
        "uvicorn",
        "pip",
    }
    assert not [
        name for name in names if name.endswith((".pyi", ".toml", ".in", ".mjs", ".dist-info/RECORD"))
    ]


def test_every_package_of_the_lock_and_no_other_is_in_it(shipped_zip: Path, names: list[str]) -> None:
    locked = {
        line.partition("==")[0].replace("-", "_")
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and (";" not in line or "sys_platform != 'emscripten'" in line)
    }
    assert set(_manifest(shipped_zip)["packages"]) == locked
    assert {name.partition("-")[0] for name in names if ".dist-info/METADATA" in name} == locked


def test_every_licence_goes_along(names: list[str]) -> None:
    """Each package's, where it brought one: a licence asks to go where the code goes."""
    assert "LICENSE" in names
    with_licence = {name.partition("-")[0] for name in names if re.search(r"\.dist-info/.*LICEN[CS]E", name)}
    assert {"sqlalchemy", "psycopg2_binary", "anthropic", "fastapi", "botocore"} <= with_licence


def test_our_migrations_lie_in_the_folder_of_the_package(names: list[str]) -> None:
    assert {"alembic/env.py", "alembic/script.py.mako", "alembic/__init__.pyc"} <= set(names)
    assert "alembic/__init__.py" not in names


def test_it_is_as_large_as_it_may_be_and_its_manifest_says_what_it_is(shipped_zip: Path) -> None:
    manifest = _manifest(shipped_zip)
    assert manifest["size"] == shipped_zip.stat().st_size <= MOST_BYTES
    assert manifest["sha256"] == hashlib.sha256(shipped_zip.read_bytes()).hexdigest()
    with zipfile.ZipFile(shipped_zip) as packed:
        assert manifest["files"] == len(packed.namelist())
        assert manifest["unpacked_size"] == sum(entry.file_size for entry in packed.infolist())
    assert manifest["arch"] == "arm64"
    assert re.fullmatch(r"3\.13\.\d+", manifest["python"])


def test_it_says_nothing_of_the_machine_and_the_time_that_it_was_made_at(shipped_zip: Path) -> None:
    places = [os.fsencode(path) for path in {str(ROOT), str(Path.home()), str(ROOT.parent)}]
    with zipfile.ZipFile(shipped_zip) as packed:
        entries = packed.infolist()
        assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
        assert {(entry.date_time, entry.external_attr) for entry in entries} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644 << 16)
        }
        told = [
            entry.filename
            for entry in entries
            if not is_extension(entry.filename)
            for place in places
            if len(place) > 5 and place + b"/" in packed.read(entry)
        ]
    assert not told


def test_no_secret_is_in_it(shipped_zip: Path) -> None:
    secret = re.compile(
        rb"sk-ant-[\w-]{16}|BEGIN [A-Z ]*PRIVATE KEY-----\n[\w+/]{40}|AKIA[A-Z0-9]{16}|gh[pousr]_\w{36}|xox[bp]-\d{8}"
    )
    with zipfile.ZipFile(shipped_zip) as packed:
        # A compiled module is as it was published, and takes most of the time.
        found = [
            name for name in packed.namelist() if not is_extension(name) and secret.search(packed.read(name))
        ]
        kinds = [
            name for name in packed.namelist() if re.search(r"(^|/)\.env|\.key$|\.p12$|credentials$", name)
        ]
    assert not found
    assert not kinds


def test_the_twin_differs_in_compiled_modules_alone(shipped_zip: Path, twin: Path) -> None:
    one, other = _digests(shipped_zip), _digests(twin)
    extensions = {name for name in [*one, *other] if is_extension(name)}
    assert {name: one[name] for name in one.keys() - extensions} == {
        name: other[name] for name in other.keys() - extensions
    }
    assert len(extensions) < 60
    modules = [{_module(name) for name in digests if _module(name)} for digests in (one, other)]
    assert modules[0] == modules[1]


def _manifest(place: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(place.with_suffix(".json").read_text())
    return manifest


def _digests(place: Path) -> dict[str, str]:
    with zipfile.ZipFile(place) as packed:
        return {name: hashlib.sha256(packed.read(name)).hexdigest() for name in packed.namelist()}


def _module(name: str) -> str | None:
    """psycopg2/_psycopg.cpython-313-aarch64-linux-gnu.so -> psycopg2/_psycopg"""
    return name.partition(".cpython-")[0] if is_extension(name) and ".cpython-" in name else None
