"""Helm 4's command line, as far as `slipway_sandbox.helm` goes. A flag that is not here is refused, as helm refuses it."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from slipway_sandbox.terraform.durations import seconds

# flags whose value is optional, with what Helm takes when they stand alone (pflag's NoOptDefVal)
OPTIONAL_VALUES = {"--wait": "watcher", "--dry-run": "client"}
WAITS = {
    "watcher": "watcher",
    "legacy": "legacy",
    "hookOnly": "hookOnly",
    "true": "watcher",
    "false": "hookOnly",
}


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
    """pflag's spellings in argparse's: `--wait` alone gets its default, `--flag=true` is the flag, `=false` none."""
    switches = {"--" + name for name in _SWITCHES}
    plain = []
    for argument in argv:
        name, _, value = argument.partition("=")
        if argument in OPTIONAL_VALUES:
            plain.append(f"{argument}={OPTIONAL_VALUES[argument]}")
        elif name in switches and value in ("true", "false"):
            plain += [name] if value == "true" else []
        else:
            plain.append(argument)
    return plain


_SWITCHES = (
    "install", "create-namespace", "atomic", "rollback-on-failure", "wait-for-jobs", "plain-http", "reset-values",
    "reuse-values", "cleanup-on-fail", "debug", "short", "all", "all-namespaces", "keep-history",
    "ignore-not-found", "include-crds",
)  # fmt: skip


def _duration(text: str) -> int:
    try:
        return max(1, round(seconds(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid duration: {error}") from error


def _strategy(text: str) -> str:
    if text not in WAITS:
        raise argparse.ArgumentTypeError(f"invalid wait input {text!r}; valid are {sorted(WAITS)}")
    return WAITS[text]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value")
    return key, value


def _shared(*, again: bool = False) -> Parser:
    """The flags that may stand before the command and after it; `again`: unset there, they keep what stood before."""

    def default(variable: str) -> Any:
        return argparse.SUPPRESS if again else os.environ.get(variable) or None

    shared = Parser(add_help=False)
    shared.add_argument("-n", "--namespace", default=default("HELM_NAMESPACE"))
    shared.add_argument("--kubeconfig", default=default("KUBECONFIG"))
    shared.add_argument("--kube-context", default=default("HELM_KUBECONTEXT"))
    shared.add_argument("--kube-token", default=default("HELM_KUBETOKEN"))
    shared.add_argument("--kube-apiserver", default=default("HELM_KUBEAPISERVER"))
    shared.add_argument("--kube-ca-file", default=default("HELM_KUBECAFILE"))
    shared.add_argument("--debug", action="store_true", default=argparse.SUPPRESS if again else False)
    return shared


def _waiting(parser: Any) -> None:
    parser.add_argument("--wait", type=_strategy, default="hookOnly")
    parser.add_argument("--timeout", type=_duration, default="5m0s")


def _charted(parser: Any) -> None:
    parser.add_argument("name")
    parser.add_argument("chart")
    parser.add_argument("--version", default=None)
    parser.add_argument("--repo", default=None)
    parser.add_argument("--plain-http", action="store_true")
    parser.add_argument("-f", "--values", action="append", default=[])
    for kind in ("", "-string", "-json", "-file", "-literal"):
        parser.add_argument(f"--set{kind}", action="append", default=[])


def _applying(parser: Any) -> None:
    _charted(parser)
    _waiting(parser)
    parser.add_argument("--create-namespace", action="store_true")
    parser.add_argument("--rollback-on-failure", "--atomic", action="store_true", dest="rollback_on_failure")
    parser.add_argument("--dry-run", choices=("client", "server", "none"), default=None)
    parser.add_argument("--description", default=None)
    parser.add_argument("-l", "--labels", type=_pair, action="append", default=[])
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="helm", parents=[_shared()], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, *aliases: str, output: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, aliases=aliases, parents=[_shared(again=True)], allow_abbrev=False)
        made.set_defaults(command=name)
        if output:
            made.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table")
        return made

    _applying(command("install"))
    upgrade = command("upgrade")
    _applying(upgrade)
    upgrade.add_argument("-i", "--install", action="store_true")
    upgrade.add_argument("--history-max", type=int, default=10)
    for switch in ("reset-values", "reuse-values", "cleanup-on-fail"):
        upgrade.add_argument(f"--{switch}", action="store_true")

    template = command("template")
    _charted(template)
    template.add_argument("--include-crds", action="store_true")

    status = command("status", output=True)
    status.add_argument("name")
    status.add_argument("--revision", type=int, default=None)

    listing = command("list", "ls", output=True)
    listing.add_argument("-a", "--all", action="store_true")
    listing.add_argument("-A", "--all-namespaces", action="store_true")
    listing.add_argument("--filter", default=None)
    listing.add_argument("-m", "--max", type=int, default=256)
    listing.add_argument("-q", "--short", action="store_true")

    history = command("history", "hist", output=True)
    history.add_argument("name")
    history.add_argument("--max", type=int, default=256)

    rollback = command("rollback")
    rollback.add_argument("name")
    rollback.add_argument("revision", type=int, nargs="?", default=None)
    _waiting(rollback)

    uninstall = command("uninstall", "delete", "del", "un")
    uninstall.add_argument("names", nargs="+")
    uninstall.add_argument("--keep-history", action="store_true")
    uninstall.add_argument("--ignore-not-found", action="store_true")
    _waiting(uninstall)

    command("version").add_argument("--short", action="store_true")
    return parser
