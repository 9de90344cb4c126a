"""Compiled by the target's Python itself, and never compared with the source: that does not change, and its time is lost in the
zip. Tracebacks show where the source lies on Lambda.

Ours ships with its source. Of a package the bytecode alone does: the sources would take a quarter of the zip, and are to be had
wherever packages are.
"""

import marshal
import subprocess
from pathlib import Path, PurePosixPath

from dev.package import compiling
from dev.package.contents import Contents, File
from dev.package.failure import CannotPackage
from dev.package.ours import US
from dev.package.target import PYTHON, TASK_ROOT, interpreter

_TAG = f"cpython-{PYTHON.replace('.', '')}"
_TIMEOUT_S = 300

# By path and digest of the source: the two zips hold the same sources, which need compiling once.
Bytecode = dict[tuple[str, str], bytes]


def with_bytecode(contents: Contents, known: Bytecode | None = None) -> Contents:
    known = {} if known is None else known
    sources = [file for file in contents.files if file.path.endswith(".py")]
    new = {file.path: file.data for file in sources if (file.path, file.digest) not in known}
    made = _compiled(new) if new else {}
    known.update({(file.path, file.digest): made[file.path] for file in sources if file.path in made})
    result = Contents()
    for file in contents.files:
        if not file.path.endswith(".py"):
            result.add(file)
            continue
        if file.owner == US:
            result.add(file)
        result.add(File(place_of(file), known[file.path, file.digest], file.owner))
    return result


def place_of(source: File) -> str:
    """Where an import looks for it: beside its source in a folder of its own, or in the place of the source."""
    path = PurePosixPath(source.path)
    if source.owner == US:
        return str(path.parent / "__pycache__" / f"{path.stem}.{_TAG}.pyc")
    return f"{path}c"


def _compiled(sources: dict[str, bytes]) -> dict[str, bytes]:
    program = Path(compiling.__file__)
    # Python says what it warns of while it compiles others' code; that is theirs to mend.
    command = [str(interpreter()), "-I", "-S", "-W", "ignore", str(program), TASK_ROOT]
    done = subprocess.run(
        command, input=marshal.dumps(sources), capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CannotPackage(f"Python {PYTHON} does not compile all that ships:\n{said[-3000:]}")
    made: dict[str, bytes] = marshal.loads(done.stdout)  # noqa: S302 - what our own process says
    return made
