"""Run by the target's Python, alone: sources in, their bytecode out (both marshalled, by path).

It is what `compileall --invalidation-mode unchecked-hash` writes, without a folder to write it in.
"""

import importlib.util
import marshal
import sys

# PEP 552: the source's digest is in the file, and is not compared with the source.
UNCHECKED = (1).to_bytes(4, "little")


def bytecode(source: bytes, shown_as: str) -> bytes:
    code = compile(source, shown_as, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code)


def main() -> None:
    root: str = sys.argv[1]
    sources: dict[str, bytes] = marshal.load(sys.stdin.buffer)  # noqa: S302 - our own, from the process that started this one
    marshal.dump(
        {path: bytecode(source, f"{root}/{path}") for path, source in sources.items()}, sys.stdout.buffer
    )


if __name__ == "__main__":
    main()
