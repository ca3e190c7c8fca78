"""Helm 4's command line, as far as `slipway_sandbox.helm` goes. A flag that is not here is refused, as helm refuses it."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from slipway_sandbox.terraform.durations import seconds

WAITS = {"watcher": "watcher", "true": "watcher", "hookOnly": "hookOnly", "false": "hookOnly"}
_SWITCHES = ("--install", "--create-namespace", "--ignore-not-found")


class UsageError(Exception):
    """The command line is not one of helm's, or not one that is supported here."""


class Parser(argparse.ArgumentParser):
    """argparse with helm's manners: errors are one line on stderr, and the exit code is 1."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(argv: list[str]) -> argparse.Namespace:
    """The parsed command line, `command` naming the action. Raises UsageError."""
    return _parser().parse_args(_plain(argv))


def _plain(argv: list[str]) -> list[str]:
    """helm's spellings in argparse's: `--wait` alone gets its default, `--flag=true` is the flag, `=false` none."""
    plain = []
    for argument in argv:
        name, _, value = argument.partition("=")
        if argument == "--wait":
            plain.append("--wait=watcher")
        elif name in _SWITCHES and value in ("true", "false"):
            plain += [name] if value == "true" else []
        else:
            plain.append(argument)
    return plain


def _duration(text: str) -> int:
    try:
        return max(1, round(seconds(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid duration: {error}") from error


def _strategy(text: str) -> str:
    if text not in WAITS:
        raise argparse.ArgumentTypeError(f"invalid wait input {text!r}; valid are {sorted(WAITS)}")
    return WAITS[text]


def _shared(*, again: bool = False) -> Parser:
    """The flags that may stand before the command and after it; `again`: unset there, they keep what stood before."""

    def default(variable: str) -> Any:
        return argparse.SUPPRESS if again else os.environ.get(variable) or None

    shared = Parser(add_help=False)
    shared.add_argument("-n", "--namespace", default=default("HELM_NAMESPACE"))
    shared.add_argument("--kubeconfig", default=default("KUBECONFIG"))
    shared.add_argument("--kube-context", default=default("HELM_KUBECONTEXT"))
    return shared


def _waiting(parser: Any) -> None:
    parser.add_argument("--wait", type=_strategy, default="hookOnly")
    parser.add_argument("--timeout", type=_duration, default="5m0s")


def _applying(parser: Any) -> None:
    parser.add_argument("name")
    parser.add_argument("chart")
    parser.add_argument("--version", default=None)
    parser.add_argument("--repo", default=None)
    parser.add_argument("-f", "--values", action="append", default=[])
    for kind in ("", "-string", "-json"):
        parser.add_argument(f"--set{kind}", action="append", default=[])
    _waiting(parser)
    parser.add_argument("--create-namespace", action="store_true")
    parser.add_argument("--description", default=None)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="helm", parents=[_shared()], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[_shared(again=True)], allow_abbrev=False)

    _applying(command("install"))
    upgrade = command("upgrade")
    _applying(upgrade)
    upgrade.add_argument("-i", "--install", action="store_true")
    upgrade.add_argument("--history-max", type=int, default=10)

    history = command("history")
    history.add_argument("name")
    history.add_argument("--max", type=int, default=256)
    history.add_argument("-o", "--output", choices=("table", "json"), default="table")

    rollback = command("rollback")
    rollback.add_argument("name")
    rollback.add_argument("revision", type=int, nargs="?", default=None)
    _waiting(rollback)

    uninstall = command("uninstall")
    uninstall.add_argument("names", nargs="+")
    uninstall.add_argument("--ignore-not-found", action="store_true")
    _waiting(uninstall)
    return parser
