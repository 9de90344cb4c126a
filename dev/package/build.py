"""The story of a zip: collect, check, compile, write; and whether it has to be told at all."""

import fcntl
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dev.package import archive, extensions
from dev.package.bytecode import with_bytecode
from dev.package.contents import Contents
from dev.package.dependencies import Dependencies, collected, install
from dev.package.failure import CannotPackage
from dev.package.manifest import Manifest, compressor, digest_of, largest
from dev.package.ours import OURS_ALONE, ROOT, commit, ours, shipped
from dev.package.target import Arch, release

OUT: Final = ROOT / "build"
# DESIGN: what is larger starts slower, and Lambda's own wall is at 50 MB.
MOST_BYTES: Final = 30_000_000
_MB: Final = 1_000_000


def zip_of(arch: Arch, out: Path = OUT) -> Path:
    return out / f"latchkey-{arch}.zip"


def manifest_of(arch: Arch, out: Path = OUT) -> Path:
    return out / f"latchkey-{arch}.json"


def gathered(arch: Arch, root: Path = ROOT) -> Dependencies:
    """All that ships but the bytecode: the packages at the root, and ours beside them."""
    with tempfile.TemporaryDirectory(prefix="latchkey-package-") as folder:
        install(arch, root / "requirements.txt", Path(folder))
        found = collected(Path(folder))
    _keep_out(found.contents)
    found.contents.join(ours(root))
    extensions.check(found.contents, arch)
    return found


def write(
    arch: Arch, packages: dict[str, str], contents: Contents, out: Path = OUT, root: Path = ROOT
) -> Manifest:
    """With its bytecode in it."""
    out.mkdir(parents=True, exist_ok=True)
    place = zip_of(arch, out)
    archive.write(contents, place)
    manifest = Manifest(
        arch=arch,
        python=release(),
        sha256=digest_of(place),
        size=place.stat().st_size,
        unpacked_size=contents.size,
        files=len(contents.files),
        inputs=inputs(arch, root),
        commit=commit(root),
        zlib=compressor(),
        packages=packages,
        largest=dict(largest(contents)),
    )
    _check_size(manifest)
    manifest.write(manifest_of(arch, out))
    return manifest


def artifact(arch: Arch, out: Path = OUT) -> Path:
    """The zip of what is in this folder now: the one that is there if it was made of the very same, else made now. Processes that
    ask at once wait for the one that makes it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out / ".lock"):
        known = Manifest.read(manifest_of(arch, out))
        place = zip_of(arch, out)
        if (
            known is None
            or not place.is_file()
            or known.inputs != inputs(arch)
            or known.sha256 != digest_of(place)
        ):
            found = gathered(arch)
            write(arch, found.packages, with_bytecode(found.contents), out)
    return place


def unpacked(arch: Arch, out: Path = OUT) -> Path:
    """A folder with what is in that zip, as Lambda would have it. It is shared: nobody may write there."""
    place = artifact(arch, out)
    folder = out / "unpacked" / f"{arch}-{digest_of(place)[:12]}"
    with _alone(out / ".lock"):
        if not folder.is_dir():
            for old in folder.parent.glob(f"{arch}-*"):
                shutil.rmtree(old)
            unfinished = folder.with_name(f".{folder.name}")
            shutil.rmtree(unfinished, ignore_errors=True)
            with zipfile.ZipFile(place) as packed:
                packed.extractall(unfinished)
            unfinished.rename(folder)
    return folder


def inputs(arch: Arch, root: Path = ROOT) -> str:
    """A digest of all that a zip is made of, and of what makes it."""
    digest = hashlib.sha256(f"{arch} {release()} {compressor()}".encode())
    makers = sorted(path.relative_to(root).as_posix() for path in (root / "dev/package").glob("*.py"))
    for path in [*shipped(root), "requirements.txt", *makers]:
        data = (root / path).read_bytes()
        digest.update(f"\n{path} {len(data)} ".encode() + data)
    return digest.hexdigest()


def _keep_out(contents: Contents) -> None:
    for file in contents.files:
        if file.path.partition("/")[0] in OURS_ALONE:
            raise CannotPackage(
                f"{file.path} is brought by {file.owner}, and would be a module of ours. Do without that package."
            )


def _check_size(manifest: Manifest) -> None:
    if manifest.size > MOST_BYTES:
        named = ", ".join(f"{name} {size / _MB:.1f} MB" for name, size in manifest.largest.items())
        raise CannotPackage(
            f"the zip for {manifest.arch} has {manifest.size / _MB:.1f} MB; accepted: at most {MOST_BYTES / _MB:.0f}. The largest, "
            f"unpacked: {named}."
        )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
