"""Deploys a stage, and what goes with that: `make deploy`, `make secret`, `make remove`.

    look       who we are on AWS, and what stands there
    secret     it is there, and holds what nothing can be answered without; whoever sits here is asked for what is missing
    package    the zip
    migrate    the database, by the new release's function, before anything else of that release runs: the one before works with the
               new schema, and this one need not work with the old. The first time there is no such function, and it comes after
    deploy     everything, in one change that CloudFormation takes back if it fails
    smoke      it answers, and a turn goes through

Each step says what came of it; one that fails says what happened, what to do, and how things stand.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Final

from dev.deploy.account import Account
from dev.deploy.alone import alone
from dev.deploy.deployment import Tools, Wanted, deploy
from dev.deploy.osls import Osls
from dev.deploy.removal import Removal
from dev.deploy.secret import StagesSecret, at_the_terminal, given_by
from dev.deploy.stage import read_stage
from dev.deploy.stopped import Stopped
from dev.steps import say, step


def main() -> None:
    given = _arguments()
    try:
        account = Account(read_stage(given.stage))
        _COMMANDS[given.command](account, given)
    except Stopped as stopped:
        sys.exit(f"latchkey  {stopped}")
    except KeyboardInterrupt:
        sys.exit("latchkey  interrupted")


def _deploy(account: Account, given: argparse.Namespace) -> None:
    with alone():
        deploy(account, Tools(ask=at_the_terminal()), Wanted(given.migrate != "no", given.turn != "no"))


def _make_secret(account: Account, given: argparse.Namespace) -> None:
    secret = StagesSecret(account)
    with step("look") as tell:
        number, arn = account.who()
        tell(f"{number}, {account.stage.region}, as {arn}")
    asked = given_by(given.file, at_the_terminal())
    with step("secret") as tell:
        tell(f"{account.stage.secret} holds {', '.join(secret.make(asked))}")
    say("functions that run take it up within SECRETS_TTL_S, five minutes unless it is set")


def _remove(account: Account, given: argparse.Namespace) -> None:
    name = account.stage.name
    asks = input if sys.stdin.isatty() else None
    with alone():
        Removal(account, Osls()).remove((lambda _question: name) if given.yes else asks)


_COMMANDS: Final[dict[str, Callable[[Account, argparse.Namespace], None]]] = {
    "deploy": _deploy,
    "secret": _make_secret,
    "remove": _remove,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.deploy", description="Deploys a stage of Latchkey to AWS; or removes it."
    )
    parser.add_argument("command", nargs="?", choices=list(_COMMANDS), default="deploy")
    parser.add_argument("--stage", default=os.environ.get("STAGE", ""), help="dev, prod, or one of yours")
    parser.add_argument(
        "--migrate", choices=("yes", "no"), default="yes", help="no: leaves the database alone"
    )
    parser.add_argument(
        "--turn", choices=("yes", "no"), default="yes", help="no: tries no turn, which asks the model once"
    )
    parser.add_argument("--from", dest="file", help="secret: a file of JSON, - for what comes in")
    parser.add_argument("--yes", action="store_true", help="remove: does not ask")
    return parser.parse_args()


if __name__ == "__main__":
    main()
