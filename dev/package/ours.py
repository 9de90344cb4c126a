"""Which files of this repository ship: those that are named here and that git tracks, and of the kinds that each place may hold.

What is not named does not ship: not the workbench, not a test, not a file that somebody left lying there.
"""

import subprocess
from pathlib import Path, PurePosixPath
from typing import Final

from dev.package.contents import Contents, File
from dev.package.failure import CannotPackage

ROOT: Final = Path(__file__).parent.parent.parent
US: Final = "Latchkey"

# Where no package may put anything. Ours lies in alembic's folder, so there it is each path that must be one's own.
OURS_ALONE: Final = ("core", "functions", "certs")

# The places, and the endings that a file may have there.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "core": (".py",),
    "functions": (".py", ".js", ".mjs", ".html", ".css", ".svg", "package.json"),
    "alembic": (".py", ".mako"),
    "alembic.ini": (".ini",),
    # Authorities of databases, where a team has put some there: see docs/postgres.md.
    "certs": (".pem",),
    "LICENSE": ("LICENSE",),
}


def ours(root: Path = ROOT) -> Contents:
    contents = Contents()
    for path in shipped(root):
        contents.add(File(path, (root / path).read_bytes(), US))
    return contents


def shipped(root: Path = ROOT) -> list[str]:
    paths = tracked(root)
    for path in paths:
        place = PurePosixPath(path).parts[0]
        if (link := _link(root, path)) is not None:
            raise CannotPackage(
                f"{link} is a link: what it leads to would ship, whatever that is on this machine. Put a file there."
            )
        if not path.endswith(KINDS[place]):
            raise CannotPackage(
                f"{path} is of no kind that ships from {place} ({', '.join(KINDS[place])}): move it elsewhere, or add its kind to "
                "dev/package/ours.py."
            )
    return paths


def _link(root: Path, path: str) -> str | None:
    """The file, or a folder on the way to it."""
    ways = (PurePosixPath(path), *PurePosixPath(path).parents)
    return next((str(way) for way in ways if (root / way).is_symlink() and way.name), None)


def tracked(root: Path) -> list[str]:
    """As they are in the folder now; one that was deleted there does not ship."""
    listed = _git(root, "ls-files", "-z", "--", *KINDS).split("\0")
    return [path for path in sorted(set(filter(None, listed))) if (root / path).is_file()]


def untracked(root: Path = ROOT) -> list[str]:
    """What lies there, does not ship, and perhaps should."""
    listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *KINDS).split("\0")
    return sorted(filter(None, listed))


def commit(root: Path = ROOT, *beside: str) -> str:
    """With a mark if the folder holds something else of what a zip is made of, or of what goes beside it. What is not tracked does not ship."""
    named = _git(root, "rev-parse", "HEAD").strip()
    makers = (*KINDS, "requirements.txt", "dev/package", *beside)
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *makers)
    return f"{named}-dirty" if changed.strip() else named


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=True
        )
    except FileNotFoundError:
        raise CannotPackage(
            "There is no git on this machine, which says which files ship: install it."
        ) from None
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or str(error)
        raise CannotPackage(
            f"git does not say which files ship: {' '.join(said.split())}. Package from a clone, not from a copy of its files."
        ) from None
    return done.stdout
