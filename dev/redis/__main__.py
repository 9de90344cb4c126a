"""A real Redis behind the REST front alone, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from types import FrameType

from dev.http.listener import HOST
from dev.redis import EmbeddedRedis, RedisFailed, RedisFront, RedisMissing


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    options = {"maxmemory": asked.maxmemory} if asked.maxmemory else {}
    try:
        with EmbeddedRedis(options=options, tcp=True) as redis, _front(redis, asked) as front:
            print(f"UPSTASH_REDIS_REST_URL={front.url}\nUPSTASH_REDIS_REST_TOKEN={front.token}")
            print(f"The same by the native protocol: REDIS_URL={redis.url}\nCtrl-C stops both.", flush=True)
            ended.wait()
    except (RedisMissing, RedisFailed) as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as refused:
        print(_explain(refused, asked.port), file=sys.stderr)
        return 1
    print("Redis has stopped.", flush=True)
    return 0


def _front(redis: EmbeddedRedis, asked: argparse.Namespace) -> RedisFront:
    return RedisFront(redis.wire, asked.port, token=asked.token, keep_requests=100)


def _explain(refused: OSError, port: int) -> str:
    if refused.errno == errno.EADDRINUSE:
        return f"Port {port} of {HOST} is taken: stop what listens there, or choose another one with --port."
    return f"Cannot listen on port {port} of {HOST}: {refused.strerror or refused}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev.redis",
        description="A real redis-server that keeps nothing, behind Upstash's REST API on this machine.",
    )
    parser.add_argument(
        "--port", type=_port, default=8002, help="port on 127.0.0.1 (default 8002; 0 picks one)"
    )
    parser.add_argument(
        "--token", default="", help="the token that clients must send (default: a random one)"
    )
    parser.add_argument("--maxmemory", default="", metavar="SIZE", help="as in redis.conf, such as 64mb")
    return parser


def _port(value: str) -> int:
    if not value.isdigit() or int(value) > 65_535:
        raise argparse.ArgumentTypeError(f"{value} is no port: a number from 0 to 65535 is needed")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
