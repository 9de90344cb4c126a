"""The metrics that functions tell, by name, with their units."""

NAMESPACE = "Latchkey"
SERVICE = "latchkey"
DIMENSIONS = ("service", "stage")

_MS = ("TurnTime", "ClaimTime", "ModelTime", "ToolTime", "CommitTime", "TurnOverhead")
_COUNT = [
    "Turns",
    "InputTokens",
    "OutputTokens",
    "CacheReadTokens",
    "CacheWriteTokens",
    "HandedOver",
    "TurnsFailed",
    "ServerErrors",
    "Defects",
    "WorkerErrors",
    "Recovered",
    "Cleanups",
    "CleanupLeft",
    "SessionsExpired",
    "SessionsArchived",
    "ArchiveFailures",
    "ColdStarts",
]
UNITS = {**dict.fromkeys(_MS, "Milliseconds"), **dict.fromkeys(_COUNT, "Count"), "CostUsd": "None"}
