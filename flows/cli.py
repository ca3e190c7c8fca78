"""The `slipway` command: each flow by hand, with the options of its own signature."""

from __future__ import annotations

import ast
import getpass
import importlib.metadata
import importlib.util
import inspect
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from flows.ci.commands import ci_group
from flows.opening import open_group
from flows.run.explained import AGAIN, explained
from flows.run.options import POSITIONAL, parameters_of
from flows.run.outcomes import OUTCOMES
from flows.run.streams import unbroken_output
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.errors import Interrupted
from tasks.records.stop import STOP

# Ctrl-C lets terraform and the like end in order for so long
INTERRUPT_SECONDS = 60.0

NOTES = {
    "sweep": "Exit code 4 where the rate cannot be told.",
    "drift": "Exit code 5 where anything differs.",
    "preflight": "Exit code 3 where it cannot succeed.",
    "render": "Try: slipway render MODEL -e ENVIRONMENT | kubectl diff -f -",
}
TIMED = {"deploy", "promote"}
CONFIRMED = {
    "deploy": click.Option(["--yes"], is_flag=True, help="make a new cluster without asking"),
    "promote": click.Option(["--yes"], is_flag=True, help="promote without asking"),
}
VERBOSE = click.Option(["-v", "--verbose"], is_flag=True, help="each resource and file too")
LOOKS = {
    "status": [
        click.Option(["--watch"], is_flag=True, help="look again and again, until Ctrl-C"),
        click.Option(
            ["--every"],
            type=click.FloatRange(1, 3600),
            default=5.0,
            show_default=True,
            metavar="SECONDS",
            help="between two looks of --watch",
        ),
        click.Option(["as_json", "--json"], is_flag=True, help="a document for programs: docs/watching.md"),
    ]
}
# they touch nothing: called without a run of Prefect
FUNCTIONS = {"endpoint", "evidence", "keys_list", "keys_show", "preflight", "render", "status"}
# their output is for other programs: progress goes to stderr
DATA = {"keys_show", "render"}
# the flows of a group: flows/keys_add.py is `slipway keys add`
KEYS = "keys_"


class Command(click.Command):
    """`slipway NAME`: the function NAME of flows/NAME.py, which is imported (with Prefect) only to run or describe it."""

    def __init__(self, flow: str, name: str = "") -> None:
        function = definition(flow)
        self.flow, self.names = flow, [argument.arg for argument in function.args.args]
        super().__init__(
            name or flow.replace("_", "-"), help=ast.get_docstring(function), epilog=NOTES.get(flow)
        )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            function = load(self.flow)
            self.params = parameters_of(getattr(function, "fn", function))
            if self.flow in CONFIRMED:
                self.params.append(CONFIRMED[self.flow])
            self.params += LOOKS.get(self.flow, [])
            self.params.append(VERBOSE)
        return super().get_params(ctx)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with explained():
            check_names(self.names_in(args))
            return super().make_context(info_name, args, parent, **extra)

    def names_in(self, words: list[str]) -> dict[str, str]:
        """The names that stand in their usual places, `MODEL ... -e ENVIRONMENT`: known before Prefect is imported."""
        found = {name: words[0] for name in POSITIONAL if words and name in self.names}
        for option, word in pairwise(words):
            if option in ("-e", "--environment"):
                found["environment"] = word
        return {name: word for name, word in found.items() if not word.startswith("-")}

    def invoke(self, ctx: click.Context) -> None:
        given: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in ctx.params.items()
        }
        with unbroken_output(), explained():
            check_names(given)
            verbose = given.pop("verbose")
            if not given.pop("yes", True):
                confirm(self.flow, given)
            if given.get("reason"):
                given["approved_by"] = who()
            if self.flow in LOOKS and look_as_asked(self.flow, given, verbose=verbose):
                return
            outcome = OUTCOMES[self.flow](run(self.flow, given, verbose=verbose), given)
            for line in outcome.lines:
                click.echo(line)
            if outcome.next_command:
                click.secho(f"  next: {outcome.next_command}", fg="yellow")
        if outcome.exit_code:
            sys.exit(outcome.exit_code)


class Commands(click.Group):
    """The flows, then the commands other packages bring, such as `slipway sandbox` of the extra `sandbox`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        flows = (flow.replace("_", "-") for flow in OUTCOMES if not flow.startswith(KEYS))
        return sorted([*flows, *self.commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        flow = cmd_name.replace("-", "_")
        return Command(flow) if flow in OUTCOMES else super().get_command(ctx, cmd_name)


class KeyCommands(click.Group):
    """`slipway keys NAME`: the flows of keys."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(flow.removeprefix(KEYS) for flow in OUTCOMES if flow.startswith(KEYS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        flow = KEYS + cmd_name
        return Command(flow, cmd_name) if flow in OUTCOMES else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
def main() -> None:
    """From the Hugging Face Hub to a proven vLLM endpoint on EKS, and back to zero GPUs."""


@main.command("schema")
def schema() -> None:
    """Write JSON Schemas of models/*.yaml and environments/*.yaml, by which editors complete and check them."""
    from tasks.records.schema import write_schemas

    with explained():
        for path in write_schemas(project_root()):
            click.echo(path)


@main.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--key", required=True, metavar="PUBLIC.pem", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--previous", type=click.Path(path_type=Path, dir_okay=False), help="the bundle that it must replace"
)
def verify(bundle: Path, key: Path, previous: Path | None) -> None:
    """Verify a bundle of evidence, with no account and no network, and explain it on one page."""
    from tasks.evidence.offline import verify_files

    with explained():
        click.echo(verify_files(bundle, key, previous))


main.add_command(KeyCommands("keys", help="The API keys of an environment's gateway."))


@main.group("prefect")
def prefect_group() -> None:
    """Register the flows with a Prefect server."""


@prefect_group.command("apply")
@click.option(
    "--environment", "-e", "environments", multiple=True, help="only these; default: all but sandboxes"
)
@click.option("--webhook", metavar="URL", help="tell this address of runs that failed, crashed or are late")
def apply(environments: tuple[str, ...], webhook: str | None) -> None:
    """Register work pools, deployments with their schedules, and automations.yaml.

    For each environment its own. What the files no longer name is removed. The same call again changes nothing.
    """
    from flows.registration import apply as register

    with explained():
        for line in register(project_root(), webhook, environments):
            click.echo(line)


@prefect_group.command("render")
@click.option(
    "--environment", "-e", "environments", multiple=True, help="only these; default: all but sandboxes"
)
def render(environments: tuple[str, ...]) -> None:
    """Print prefect.yaml, for `prefect deploy --all`."""
    from flows.deployments import as_yaml
    from flows.registration import rendered

    with explained():
        click.echo(as_yaml(rendered(project_root(), environments)), nl=False)


main.add_command(ci_group)
main.add_command(open_group)


def definition(flow: str) -> ast.FunctionDef:
    """The function of flows/NAME.py as it is written: its names and docstring, without an import that takes seconds."""
    spec = importlib.util.find_spec(f"flows.{flow}")
    assert spec and spec.origin  # noqa: S101  a module of this package
    tree = ast.parse(Path(spec.origin).read_text())
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == flow)


def load(flow: str) -> Any:
    """Import a flow. Prefect reads its settings when it is imported: they are set before."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "60")
    # as prefect.yaml has it for a worker's runs: automations.yaml takes a run without heartbeats for dead
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    signal.signal(signal.SIGINT, _interrupt)
    # a terminal that is closed ends no run: it goes on, and can be cancelled in Prefect
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return getattr(importlib.import_module(f"flows.{flow}"), flow)


def run(flow: str, given: dict[str, Any], *, verbose: bool = False) -> Any:
    """The result of the flow, after the timeline of its run where it has one. Raises what the flow raises."""
    function = load(flow)
    from prefect import Flow
    from prefect.exceptions import CancelledRun

    from flows.run.approval import asked_at_the_terminal
    from flows.run.terminal import is_drawn_on, shown
    from flows.run.timeline import lines_of

    if flow in FUNCTIONS:
        called = inspect.unwrap(function.fn) if isinstance(function, Flow) else function
        with shown(sys.stderr if flow in DATA else sys.stdout, verbose=verbose, live=False):
            return called(**given)
    with shown(sys.stdout, verbose=verbose) as display, ExitStack() as asking:
        if on_a_terminal():
            asking.enter_context(asked_at_the_terminal(partial(ask, display)))
        state = function(**given, return_state=True)
    run_id = state.state_details.flow_run_id
    if run_id and flow in TIMED:
        for line in lines_of(UUID(str(run_id)), whole=verbose or not is_drawn_on(sys.stdout)):
            click.echo(f"  {line}")
    try:
        return state.result()
    except CancelledRun as cancelled:
        raise Interrupted(f"cancelled in Prefect: {state.message}", next_command=AGAIN) from cancelled


def look_as_asked(flow: str, given: dict[str, Any], *, verbose: bool) -> bool:
    """Whether --watch or --json was given, and has been done; `given` loses them."""
    watched, every, as_json = (given.pop(name) for name in ("watch", "every", "as_json"))
    if not (watched or as_json):
        return False
    load(flow)
    from flows.run import status_watch
    from flows.run.terminal import shown
    from flows.status import of_all

    if not watched:
        with shown(sys.stderr, verbose=verbose, live=False):
            found = inspect.unwrap(load(flow).fn)(**given)
        click.echo(status_watch.as_json(found))
        return True
    named = given["environment"]
    environments = [named] if named else names("environments", project_root())
    status_watch.until_interrupted(partial(of_all, environments), every, as_json=as_json)
    return True


def ask(display: Any, proposal: Any) -> str:
    """Who approves: this user, where the answer is yes. Raises Interrupted where it is no."""
    from rich.console import Console
    from rich.markdown import Markdown

    with display.paused():
        Console().print(Markdown(proposal.page))
        if not click.confirm(f"{proposal.what}?"):
            raise Interrupted("not approved: nothing was changed", next_command=AGAIN)
    return who()


def who() -> str:
    """The person at this terminal: user and host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def confirm(flow: str, given: Mapping[str, Any]) -> None:
    """Ask whether to promote; on a terminal, whether to pay for a cluster that is not there yet. Raises Abort.

    A protected environment is asked about by its run, which has the plan (flows/run/approval.py).
    """
    if flow == "promote" and not load_environment(given["environment"]).protected:
        click.confirm(f"promote {given['model']} into {given['environment']}?", abort=True)
    if not on_a_terminal():
        return
    from tasks.preflight.task import first_cost

    if cost := first_cost(load_environment(given["environment"])):
        click.echo(f"{given['environment']} has no cluster yet. It will cost {cost}")
        click.confirm("make it?", abort=True)


def on_a_terminal() -> bool:
    """Whether somebody can be asked: not in CI, nor in a worker."""
    return sys.stdin.isatty()


def check_names(given: Mapping[str, Any]) -> None:
    """Look the names up before anything starts. Raises UnknownName, InvalidDocument, InputError."""
    if given.get("model"):
        load_model(given["model"])
    if given.get("environment"):
        load_environment(given["environment"]).check_variables(os.environ)


def _interrupt(signum: int, frame: Any) -> None:
    """The first Ctrl-C ends every wait; a second, or a minute, ends the process."""
    if STOP.is_set():
        os._exit(130)
    click.echo("\nstopping in order (Ctrl-C again: at once) …", err=True)
    STOP.ask("interrupted")
    watchdog = threading.Timer(INTERRUPT_SECONDS, os._exit, args=(130,))
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt


def _add_commands() -> None:
    for entry in importlib.metadata.entry_points(group="slipway.commands"):
        main.add_command(entry.load(), entry.name)


_add_commands()
