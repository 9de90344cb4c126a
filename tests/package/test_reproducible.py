"""The same commit gives the same bytes, wherever and whenever it is made."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dev.package import CannotPackage
from dev.package.build import artifact, inputs, manifest_of, zip_of
from dev.package.bytecode import with_bytecode
from dev.package.contents import Contents, File
from dev.package.dependencies import install
from dev.package.manifest import Manifest
from dev.package.ours import ROOT, US


def test_another_folder_umask_clock_and_tongue_give_the_same_bytes(
    target_python: Path, twin: Path, tmp_path: Path
) -> None:
    clone = _clone_of_what_is_here(tmp_path / "a path with a space" / "latchkey")
    # The rest stays, such as what uv reaches the packages by.
    environ = os.environ | {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "de_DE.UTF-8"}
    environ |= {"PYTHONHASHSEED": "4711", "PYTHONOPTIMIZE": "2", "LATCHKEY_TARGET_PYTHON": str(target_python)}
    done = subprocess.run(
        ["sh", "-c", 'umask 077 && exec "$0" "$@"', sys.executable, "-m", "dev.package", "--arch", "x86_64"],
        cwd=clone,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = zip_of("x86_64", clone / "build")
    assert _digest(again) == _digest(twin), _differences(again, twin)
    assert _digest(twin) in done.stdout
    assert again.stat().st_mtime != twin.stat().st_mtime


def test_a_wheel_that_is_published_later_changes_nothing(
    target_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second build of a release is preferred, were it not for the lock, which knows the first alone."""
    first = _wheel(tmp_path, "one-1.0-py3-none-any.whl", "first")
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"one==1.0 --hash=sha256:{_digest(first)}\n")
    second = _wheel(tmp_path, "one-1.0-2-py3-none-any.whl", "second")
    page = tmp_path / "simple" / "one" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        "".join(
            f'<a href="{wheel.as_uri()}#sha256={_digest(wheel)}">{wheel.name}</a>'
            for wheel in (first, second)
        )
    )
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    install("arm64", lock, tmp_path / "installed")
    assert (tmp_path / "installed" / "one.py").read_text() == "first"
    lock.write_text("one==1.0\n")
    with pytest.raises(CannotPackage, match="hash"):
        install("arm64", lock, tmp_path / "again")


def test_every_line_of_the_locks_is_held_by_digests() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        pinned = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
        assert pinned
        assert not [lines for lines in pinned if "==" not in lines or "--hash=sha256:" not in lines]


def _wheel(folder: Path, name: str, says: str) -> Path:
    about = {"one-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n"}
    about |= {"one-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files = {"one.py": says, **about, "one-1.0.dist-info/RECORD": ""}
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return folder / name


def test_bytecode_does_not_depend_on_what_else_is_compiled(target_python: Path) -> None:
    sources = [
        File(f"core/{name}.py", (ROOT / f"core/{name}.py").read_bytes(), US) for name in ("turn", "lease")
    ]
    together, alone = Contents(), Contents()
    for source in sources:
        together.add(source)
    alone.add(sources[0])
    place = "core/__pycache__/turn.cpython-313.pyc"
    both, one = ({file.path: file.data for file in with_bytecode(given).files} for given in (together, alone))
    assert both[place] == one[place]


def test_bytecode_is_what_pythons_own_compiler_writes(target_python: Path, tmp_path: Path) -> None:
    source = (ROOT / "core/lease.py").read_bytes()
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "lease.py").write_bytes(source)
    command = [
        str(target_python),
        "-I",
        "-S",
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
    ]
    subprocess.run([*command, "-s", str(tmp_path), "-p", "/var/task", str(tmp_path)], check=True, timeout=60)
    contents = Contents()
    contents.add(File("core/lease.py", source, US))
    place = "core/__pycache__/lease.cpython-313.pyc"
    (made,) = (file.data for file in with_bytecode(contents).files if file.path == place)
    assert made == (tmp_path / place).read_bytes()


def test_a_zip_is_made_again_only_if_something_has_changed(twin: Path) -> None:
    before = twin.stat().st_mtime_ns
    assert artifact("x86_64") == twin
    assert twin.stat().st_mtime_ns == before
    manifest = Manifest.read(manifest_of("x86_64"))
    assert manifest is not None
    assert manifest.inputs == inputs("x86_64") != inputs("arm64")


def _clone_of_what_is_here(place: Path) -> Path:
    """With what has not been committed yet."""
    place.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", ROOT, place], check=True, timeout=60)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    ).stdout.split("\0")
    for path in filter(None, listed):
        if (ROOT / path).is_file():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, place / path)
        else:
            (place / path).unlink(missing_ok=True)
    subprocess.run(["git", "add", "-A"], cwd=place, check=True, timeout=20)
    return place


def _digest(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()


def _differences(one: Path, other: Path) -> list[str]:
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        names = set(first.namelist()) | set(second.namelist())
        both = set(first.namelist()) & set(second.namelist())
        return sorted(name for name in names if name not in both or first.read(name) != second.read(name))[
            :20
        ]
