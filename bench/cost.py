"""What turns cost: arithmetic, nothing is measured here. `docs/cost.md` shows these tables, and a test holds it to them.

python -m bench.cost
"""

from dataclasses import dataclass
from typing import Final

from core.model.prices import cost_micros

# Dollars, list prices of us-east-1 without free tiers. Lambda's are those of arm64.
AS_OF: Final = "2026-11-21"
GB_SECOND: Final = 0.0000133334
LAMBDA_REQUEST: Final = 0.20 / 1e6
GATEWAY_REQUEST: Final = 1.00 / 1e6
FIFO_REQUEST: Final = 0.50 / 1e6
LOG_GB: Final = 0.50
TRACE: Final = 5.00 / 1e6
S3_PUT: Final = 5.00 / 1e6
S3_GB_MONTH: Final = 0.023
SCHEDULED: Final = 1.00 / 1e6
SECRET_MONTH: Final = 0.40
SECRET_READ: Final = 0.05 / 1e4
METRIC_MONTH: Final = 0.30
ALARM_MONTH: Final = 0.10
DASHBOARD_MONTH: Final = 3.00

DAYS: Final = 30
MONTH_S: Final = DAYS * 86_400

# The turn that is reckoned with.
MODEL: Final = "claude-sonnet-5-5"
TURN_S: Final = 8.0
MEMORY_GB: Final = 1.0
HANDED_OVER: Final = 0.05
LOOKS: Final = 0.2  # further requests that a client makes for it
TURNS_A_TALK: Final = 6
# Ours as measured by `make lambda` (1,400), and what Lambda and the gateway write about each request, as reckoned.
LOG_BYTES: Final = 3_000
# What is there while nobody speaks.
# Ours, and seven more by what became of a turn. What AWS tells of its own services is free.
METRICS: Final = 25 + 7
ALARMS: Final = 15
CLEANUP_S: Final = 0.5
POLLERS: Final = 5
POLL_S: Final = 20


@dataclass(frozen=True, slots=True)
class Call:
    """Of one call of the model, in tokens: read from the cache, written to it, and said."""

    read: int
    written: int
    said: int

    @property
    def dollars(self) -> float:
        usage = {
            "input_tokens": 3,
            "cache_read_input_tokens": self.read,
            "cache_creation_input_tokens": self.written,
            "cache_creation": {"ephemeral_5m_input_tokens": self.written},
            "output_tokens": self.said,
        }
        micros = cost_micros(MODEL, usage)
        assert micros is not None
        return micros / 1e6


# 2,500 tokens of prompt and tools, 3,000 of conversation; 100 come in and 250 go out.
WARM: Final = Call(5_500, 350, 250)
COLD: Final = Call(2_500, 3_350, 250)
TOOL: Final = (Call(5_500, 350, 80), Call(5_850, 200, 250))


def turn() -> dict[str, float]:
    """Dollars of one turn beside the model."""
    return {
        "Lambda, 8 s at 1 GB": TURN_S * MEMORY_GB * GB_SECOND + (1 + LOOKS + HANDED_OVER) * LAMBDA_REQUEST,
        "API Gateway": (1 + LOOKS) * GATEWAY_REQUEST,
        "logs": LOG_BYTES / 1e9 * LOG_GB,
        "SQS": HANDED_OVER * 3 * FIFO_REQUEST,
        "archive": S3_PUT / TURNS_A_TALK,
    }


def idle() -> dict[str, float]:
    """Dollars a month of a stage to which nobody speaks, without its Postgres."""
    minutes = MONTH_S / 60
    return {
        "alarms": ALARMS * ALARM_MONTH,
        "metrics": METRICS * METRIC_MONTH,
        "dashboard": DASHBOARD_MONTH,
        "clean-up": minutes * (CLEANUP_S * MEMORY_GB * GB_SECOND + LAMBDA_REQUEST + SCHEDULED),
        "polling the queue": POLLERS * MONTH_S / POLL_S * FIFO_REQUEST,
        "the secret": SECRET_MONTH + MONTH_S / 300 * SECRET_READ,
    }


def traces(turns_a_day: int) -> float:
    """Dollars a month: X-Ray takes one request a second, and a twentieth of the others."""
    requests = turns_a_day * DAYS * (1 + LOOKS)
    first = min(requests, MONTH_S)
    return (first + 0.05 * (requests - first)) * TRACE


def kinds() -> list[str]:
    rows = {
        "plain, the cache warm": WARM.dollars,
        "plain, after a pause of five minutes": COLD.dollars,
        "one tool round, the cache warm": sum(call.dollars for call in TOOL),
    }
    head = ["| turn | the model | beside it |", "|---|---:|---:|"]
    return head + [
        f"| {name} | ${dollars:.5f} | ${sum(turn().values()):.5f} |" for name, dollars in rows.items()
    ]


def parts() -> list[str]:
    head = ["| a turn beside the model | dollars |", "|---|---:|"]
    return head + [f"| {name} | {dollars:.7f} |" for name, dollars in turn().items()]


def standing() -> list[str]:
    head = ["| a month while nobody speaks | dollars |", "|---|---:|"]
    rows = [f"| {name} | {dollars:.2f} |" for name, dollars in idle().items()]
    return [*head, *rows, f"| **together** | **{sum(idle().values()):.2f}** |"]


def months() -> list[str]:
    """Two thirds of the turns find the cache warm."""
    model = (2 * WARM.dollars + COLD.dollars) / 3
    head = [
        "| turns a day | the model | Lambda | gateway, queue, logs, archive | traces | standing | share of the model |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for day in (1_000, 100_000, 1_000_000):
        costs = turn()
        functions = costs.pop("Lambda, 8 s at 1 GB")
        sums = [
            model * day * DAYS,
            functions * day * DAYS,
            sum(costs.values()) * day * DAYS,
            traces(day),
            sum(idle().values()),
        ]
        shown = " | ".join(f"${dollars:,.0f}" for dollars in sums)
        rows.append(f"| {day:,} | {shown} | {sums[0] / sum(sums):.1%} |")
    return head + rows


def tables() -> list[list[str]]:
    return [kinds(), parts(), standing(), months()]


if __name__ == "__main__":
    print("\n\n".join("\n".join(table) for table in tables()))
