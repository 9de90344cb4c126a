"""What the functions write, for somebody who reads along: a line of theirs is JSON, and a terminal is no log group."""

from typing import Any

from .logs import Line

_PLATFORM = ("START ", "REPORT ", "INIT_REPORT ")
# Fields that say the same as the line's beginning, or for which there is no room.
_SHORT = ("turn", "session", "epoch")


def readable(line: Line) -> str | None:
    """None for what only a machine reads: metrics but a turn's, and what the platform says of an invocation that went well."""
    who = f"{line.function}-{line.sandbox}"
    found = line.json
    if found is None:
        quiet = line.text.startswith(_PLATFORM) and " Status: " not in line.text
        return None if quiet or not line.text.strip() else f"{who}  {line.text}"
    if "_aws" in found:
        return f"{who}  INFO  {_stint(found)}" if "TurnTime" in found else None
    said = found.get("message") or f"{found.get('errorType')}: {found.get('errorMessage')}"
    named = "  ".join(f"{name} {found[name]}" for name in _SHORT if found.get(name))
    trace = "".join(f"\n{part}".rstrip() for part in found.get("stackTrace") or ())
    return f"{who}  {found.get('level', 'INFO')}  {said}{'  ' if named else ''}{named}{trace}"


def _stint(found: dict[str, Any]) -> str:
    """One function's time with one turn, by its metrics."""
    ms = {name: round(found[name]) for name in ("TurnTime", "ModelTime", "ToolTime", "TurnOverhead")}
    return (
        f"turn {found.get('turn')} {found.get('status')} by {found.get('agent')} in {ms['TurnTime']} ms: model {ms['ModelTime']}, "
        f"tools {ms['ToolTime']}, all else {ms['TurnOverhead']}"
    )
