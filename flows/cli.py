"""The `slipway` command: each flow by hand, with the options of its own signature."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import click

from flows.run.options import POSITIONAL, parameters_of
from flows.run.outcomes import OUTCOMES
from tasks.records.catalogue import load_environment, load_model
from tasks.records.errors import Interrupted, SlipwayError
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
CONFIRMED = {"promote": click.Option(["--yes"], is_flag=True, help="promote without asking")}
# their output is for other programs: progress goes to stderr
DATA = {"render"}

# one handler for all commands of a process: `slipway sandbox demo` runs several
PROGRESS: logging.StreamHandler[TextIO] = logging.StreamHandler()


class Command(click.Command):
    """`slipway NAME`: the function NAME of flows/NAME.py, which is imported (with Prefect) only to run or describe it."""

    def __init__(self, flow: str) -> None:
        function = definition(flow)
        self.flow, self.names = flow, [argument.arg for argument in function.args.args]
        super().__init__(flow.replace("_", "-"), help=ast.get_docstring(function), epilog=NOTES.get(flow))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            function = load(self.flow)
            self.params = parameters_of(getattr(function, "fn", function))
            if self.flow in CONFIRMED:
                self.params.append(CONFIRMED[self.flow])
        return super().get_params(ctx)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with explained():
            check_names(self.names_in(args))
            return super().make_context(info_name, args, parent, **extra)

    def names_in(self, words: list[str]) -> dict[str, str]:
        """The names that stand in their usual places, `MODEL ... -e ENVIRONMENT`: known before Prefect is imported."""
        found = {POSITIONAL: words[0]} if words and POSITIONAL in self.names else {}
        for option, word in pairwise(words):
            if option in ("-e", "--environment"):
                found["environment"] = word
        return {name: word for name, word in found.items() if not word.startswith("-")}

    def invoke(self, ctx: click.Context) -> None:
        given: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in ctx.params.items()
        }
        with explained():
            check_names(given)
            if not given.pop("yes", True):
                click.confirm(f"promote {given['model']} into {given['environment']}?", abort=True)
            show_progress(sys.stderr if self.flow in DATA else sys.stdout)
            outcome = OUTCOMES[self.flow](run(self.flow, given), given)
        for line in outcome.lines:
            click.echo(line)
        if outcome.exit_code:
            sys.exit(outcome.exit_code)


class Commands(click.Group):
    """The flows, then the commands other packages bring, such as `slipway sandbox` of the extra `sandbox`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*(flow.replace("_", "-") for flow in OUTCOMES), *self.commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        flow = cmd_name.replace("-", "_")
        return Command(flow) if flow in OUTCOMES else super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
def main() -> None:
    """From the Hugging Face Hub to a proven vLLM endpoint on EKS, and back to zero GPUs."""


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
    signal.signal(signal.SIGINT, _interrupt)
    return getattr(importlib.import_module(f"flows.{flow}"), flow)


def run(flow: str, given: dict[str, Any]) -> Any:
    """The result of the flow, after the timeline of its run where it has one. Raises what the flow raises."""
    function = load(flow)
    if flow not in TIMED:
        return function(**given)
    from flows.run.timeline import lines_of

    state = function(**given, return_state=True)
    if run_id := state.state_details.flow_run_id:
        for line in lines_of(UUID(str(run_id))):
            click.echo(f"  {line}")
    return state.result()


def check_names(given: Mapping[str, Any]) -> None:
    """Look the names up before anything starts. Raises UnknownName, InvalidDocument, InputError."""
    if "model" in given:
        load_model(given["model"])
    if "environment" in given:
        load_environment(given["environment"]).check_variables(os.environ)


@contextmanager
def explained() -> Iterator[None]:
    """End the process with what a SlipwayError or a Ctrl-C in the block says."""
    try:
        yield
    except SlipwayError as error:
        fail(error)
    except (KeyboardInterrupt, click.Abort):
        fail(Interrupted("interrupted", next_command="run the same command again: it continues"))


def fail(error: SlipwayError) -> None:
    """Print cause, evidence and next command; exit with the error's code."""
    click.secho(f"error: {error.cause}", fg="red", err=True)
    for line in error.evidence:
        click.echo(f"  | {line}", err=True)
    if error.next_command:
        click.secho(f"  next: {error.next_command}", fg="yellow", err=True)
    sys.exit(error.exit_code)


def show_progress(stream: TextIO) -> None:
    """Print what the stages say, one line each, and nothing of Prefect's own."""
    import prefect.main  # noqa: F401  importing it sets logging up anew: ours must come after

    PROGRESS.setStream(stream)
    PROGRESS.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    PROGRESS.addFilter(_is_progress)
    for name in ("prefect.flow_runs", "prefect.task_runs", "slipway"):
        logger = logging.getLogger(name)
        logger.addHandler(PROGRESS)
        logger.setLevel(logging.INFO)


def _is_progress(record: logging.LogRecord) -> bool:
    return getattr(record, "slipway", False)


def _interrupt(signum: int, frame: Any) -> None:
    """The first Ctrl-C ends every wait; a second, or a minute, ends the process."""
    if STOP.is_set():
        os._exit(130)
    click.echo("\nstopping in order (Ctrl-C again: at once) …", err=True)
    STOP.set()
    watchdog = threading.Timer(INTERRUPT_SECONDS, os._exit, args=(130,))
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt


def _add_commands() -> None:
    for entry in importlib.metadata.entry_points(group="slipway.commands"):
        main.add_command(entry.load(), entry.name)


_add_commands()
