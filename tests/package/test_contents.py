"""What gets into the zip, and what is refused."""

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest

from dev.package import CannotPackage, build
from dev.package.contents import Contents, File
from dev.package.dependencies import collected
from dev.package.extensions import check
from dev.package.ours import ROOT, ours, untracked
from dev.package.pruning import is_needed


def _package(folder: Path, name: str, files: dict[str, str]) -> None:
    """As an installer leaves it there."""
    rows = []
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}")
    record = folder / f"{name}-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("\n".join([*rows, f"{record.relative_to(folder)},,"]) + "\n")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True, timeout=20)
    for path in ("core/turn.py", "functions/web/index.html", "alembic/env.py", "alembic.ini", "dev/serve.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"# {path}\n")
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True, timeout=20)
    return tmp_path


def test_only_what_is_named_and_tracked_ships(clone: Path) -> None:
    (clone / "core" / "scratch.py").write_text("")
    assert [file.path for file in ours(clone).files] == [
        "alembic.ini",
        "alembic/env.py",
        "core/turn.py",
        "functions/web/index.html",
    ]
    assert untracked(clone) == ["core/scratch.py"]


def test_a_file_of_an_unknown_kind_is_refused(clone: Path) -> None:
    (clone / "core" / "key.pem").write_text("")
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True, timeout=20)
    with pytest.raises(CannotPackage, match=r"core/key\.pem is of no kind that ships from core"):
        ours(clone)


def test_a_link_is_refused_wherever_it_leads(clone: Path) -> None:
    (clone / "core" / "turns.py").symlink_to("../dev/serve.py")
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True, timeout=20)
    with pytest.raises(CannotPackage, match=r"core/turns\.py is a link"):
        ours(clone)


def test_a_file_behind_a_folder_that_became_a_link_is_refused(clone: Path) -> None:
    """git still tracks it, and has not been told."""
    (clone / "core").rename(clone / "elsewhere")
    (clone / "core").symlink_to("elsewhere")
    with pytest.raises(CannotPackage, match="core is a link"):
        ours(clone)


def test_what_is_no_clone_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(CannotPackage, match="Package from a clone"):
        ours(tmp_path)


def test_two_packages_with_one_path_are_refused_by_name(tmp_path: Path) -> None:
    _package(tmp_path, "one", {"shared/settings.py": "A = 1\n"})
    _package(tmp_path, "two", {"shared/settings.py": "A = 2\n"})
    with pytest.raises(CannotPackage, match=r"shared/settings\.py is brought by one and by two"):
        collected(tmp_path)


def test_two_packages_may_bring_the_same_file(tmp_path: Path) -> None:
    _package(tmp_path, "one", {"shared/__init__.py": ""})
    _package(tmp_path, "two", {"shared/__init__.py": ""})
    assert [file.path for file in collected(tmp_path).contents.files] == ["shared/__init__.py"]


def test_a_package_that_brings_a_file_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    """Ours lies in the folder of the package alembic, which may come to have an env.py of its own."""
    _package(tmp_path, "alembic", {"alembic/__init__.py": "", "alembic/env.py": "theirs\n"})
    contents = collected(tmp_path).contents
    with pytest.raises(CannotPackage, match=r"alembic/env\.py is brought by alembic and by Latchkey"):
        contents.join(ours())


@pytest.mark.parametrize("path", ["core/extra.py", "functions/web/more.js", "certs/ca.pem"])
def test_a_package_that_brings_a_module_of_ours_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It hides nothing, and would be imported as one of ours all the same."""
    monkeypatch.setattr(
        build, "install", lambda _arch, _requirements, folder: _package(folder, "one", {path: ""})
    )
    with pytest.raises(CannotPackage, match=rf"{path} is brought by one, and would be a module of ours"):
        build.gathered("arm64")


def test_an_init_of_ours_in_alembic_would_be_refused(tmp_path: Path) -> None:
    _package(tmp_path, "alembic", {"alembic/__init__.py": "theirs\n"})
    contents = collected(tmp_path).contents
    with pytest.raises(CannotPackage, match=r"alembic/__init__\.py is brought by alembic and by Latchkey"):
        contents.add(File("alembic/__init__.py", b"", "Latchkey"))


def test_what_no_package_recorded_does_not_ship(tmp_path: Path) -> None:
    _package(tmp_path, "one", {"one.py": ""})
    (tmp_path / "stray.py").write_text("")
    assert [file.path for file in collected(tmp_path).contents.files] == ["one.py"]


def test_a_file_that_is_not_as_recorded_is_refused(tmp_path: Path) -> None:
    _package(tmp_path, "one", {"one.py": ""})
    (tmp_path / "one.py").write_text("changed")
    with pytest.raises(CannotPackage, match=r"one\.py of one is not as its wheel recorded it"):
        collected(tmp_path)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"\x7fELF".ljust(18, b"\0") + b"\x3e\0", "is not made for arm64"),
        (b"MZ", "is not made for arm64"),
        (b"\x7fELF".ljust(18, b"\0") + b"\xb7\0\0GLIBC_2.17\0GLIBC_2.38\0", r"asks for glibc 2\.38"),
    ],
)
def test_a_compiled_module_that_lambda_cannot_load_is_refused(header: bytes, problem: str) -> None:
    contents = Contents()
    contents.add(File("one/fast.so", header, "one"))
    with pytest.raises(CannotPackage, match=f"one/fast.so of one {problem}"):
        check(contents, "arm64")


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("sqlalchemy/engine/base.py", True),
        ("sqlalchemy/testing/config.py", False),
        ("botocore/data/s3/2006-03-01/service-2.json.gz", True),
        ("botocore/data/ec2/2016-11-15/service-2.json.gz", False),
        ("botocore/data/endpoints.json", True),
        ("alembic/templates/generic/env.py", False),
        ("one-1.0.dist-info/METADATA", True),
        ("one-1.0.dist-info/licenses/LICENSE.txt", True),
        ("one-1.0.dist-info/RECORD", False),
        ("bin/alembic", False),
    ],
)
def test_what_nothing_needs_is_left_behind(path: str, needed: bool) -> None:
    assert is_needed(path) is needed


def test_every_place_that_ships_is_there() -> None:
    places = {file.path.partition("/")[0] for file in ours(ROOT).files}
    assert places - {"certs"} == {"core", "functions", "alembic", "alembic.ini", "LICENSE"}
