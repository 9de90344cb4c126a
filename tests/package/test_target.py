"""How the Python that the zip is made for is found."""

import stat
from pathlib import Path

import pytest

from dev.package import target


def _program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no Python of the target's version."""
    monkeypatch.delenv(target.NAMED_BY, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_the_one_on_the_path_is_taken(nowhere: Path) -> None:
    _program(nowhere / "bin" / f"python{target.PYTHON}", "echo 3.13 cpython /there/python")
    assert target.interpreter() == Path("/there/python")


def test_one_that_does_not_run_is_passed_over(nowhere: Path) -> None:
    """pyenv puts a shim on the path for every version that it has, and most do not run."""
    _program(nowhere / "bin" / f"python{target.PYTHON}", "exit 127")
    _program(nowhere / "pyenv/versions/3.13.7/bin/python", "echo 3.13 cpython /pyenv/python")
    assert target.interpreter() == Path("/pyenv/python")


@pytest.mark.parametrize("says", ["echo 3.12 cpython /other", "echo 3.13 pypy /other", "exit 1"])
def test_one_that_is_named_must_be_of_that_version(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    _program(nowhere / "pyenv/versions/3.13.7/bin/python", "echo 3.13 cpython /pyenv/python")
    named = _program(nowhere / "mine", says)
    monkeypatch.setenv(target.NAMED_BY, str(named))
    with pytest.raises(target.NoTargetPython, match=r"looked for '.*mine'.*LATCHKEY_TARGET_PYTHON="):
        target.interpreter()


def test_without_any_it_is_said_what_was_looked_for_and_what_to_do(nowhere: Path) -> None:
    with pytest.raises(target.NoTargetPython, match=r"python3\.13 on the PATH.*pyenv install 3\.13"):
        target.interpreter()
