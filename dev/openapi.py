"""Writes what OpenAPI tells of the calls to docs/openapi.json, as the application tells it, or says that the file is stale.

python -m dev.openapi [--check]
"""

import argparse
import json
import sys
from pathlib import Path

from core.house import build_house
from core.settings import read_settings
from functions.app import build_app

FILE = Path(__file__).parent.parent / "docs" / "openapi.json"


def told() -> str:
    """The same for everybody: no setting changes what the calls are."""
    house = build_house(read_settings({"ACCESS_MODE": "open"}))
    try:
        openapi = build_app(house, one_at_a_time=True).openapi()
    finally:
        house.close()
    return json.dumps(openapi, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is stale")
    if not parser.parse_args().check:
        FILE.write_text(told())
    elif FILE.read_text() != told():
        sys.exit("docs/openapi.json is stale: make openapi")


if __name__ == "__main__":
    main()
