"""The demo model alone, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from types import FrameType

from .server import HOST, DemoModel


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    model = DemoModel(
        asked.port,
        delay_s=asked.delay,
        minimum_cache_tokens=asked.minimum_cache_tokens,
        keep_requests=100,
        text_beside_results=asked.text_beside_results,
    )
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    try:
        model.start()
    except OSError as refused:
        print(_explain(refused, asked.port), file=sys.stderr)
        return 1
    print(f"The demo model listens on {model.url} (Ctrl-C stops it).", flush=True)
    ended.wait()
    model.stop()
    print("The demo model has stopped.", flush=True)
    return 0


def _explain(refused: OSError, port: int) -> str:
    if refused.errno == errno.EADDRINUSE:
        return f"Port {port} of {HOST} is taken: stop what listens there, or choose another one with --port."
    return f"Cannot listen on port {port} of {HOST}: {refused.strerror or refused}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev.demo_model",
        description="A stand-in for the Anthropic Messages API: no key, no network, the same answers every time.",
    )
    parser.add_argument(
        "--port", type=_port, default=8001, help="port on 127.0.0.1 (default 8001; 0 picks one)"
    )
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="seconds before every answer")
    parser.add_argument(
        "--minimum-cache-tokens", type=int, default=1024, metavar="N", help="shortest prefix that is cached"
    )
    parser.add_argument(
        "--text-beside-results",
        action="store_true",
        help="accept text after the tool results of a message, as agent command lines send it",
    )
    return parser


def _port(value: str) -> int:
    if not value.isdigit() or int(value) > 65_535:
        raise argparse.ArgumentTypeError(f"{value} is no port: a number from 0 to 65535 is needed")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
