"""The `slipway` command: the same flows by hand that Prefect's UI, schedules and CI run."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import click

from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.records.errors import Interrupted, SlipwayError, ValidationFailed
from tasks.records.results import LoadReport
from tasks.records.stop import STOP

INTERRUPT_SECONDS = 60.0  # how long Ctrl-C lets terraform and the like end in order

ENVIRONMENT = click.option("-e", "--environment", required=True, help="a file of environments/, by its name")
KEEP = click.Choice(["keep", "delete"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slipway")
def main() -> None:
    """From the Hugging Face Hub to a proven vLLM endpoint on EKS, and back to zero GPUs."""


@main.command()
@click.argument("model")
@ENVIRONMENT
@click.option("--revision", help="branch, tag or commit instead of the one in the model's file")
@click.option("--may-destroy", multiple=True, help="terraform address that holds data and may be destroyed")
def deploy(model: str, environment: str, revision: str | None, may_destroy: tuple[str, ...]) -> None:
    """Provision, stage, warm, roll out and prove MODEL."""

    def run() -> None:
        from flows.deploy import deploy as flow
        from flows.run.timeline import lines_of

        state = flow(model, environment, revision=revision, may_destroy=list(may_destroy), return_state=True)
        for line in lines_of(UUID(str(state.state_details.flow_run_id))):
            click.echo(f"  {line}")
        record: Any = state.result()
        click.echo("\n".join(verdict(record.report)))
        click.echo(f"{model} in {environment}: release {record.release.id} is proven")

    _call(run, model=model, environment=environment)


@main.command()
@click.argument("model")
@ENVIRONMENT
@click.option("--from", "source", help="environment the release was proven in; default: promote_from")
@click.option("--yes", is_flag=True, help="promote without asking")
def promote(model: str, environment: str, source: str | None, yes: bool) -> None:
    """Bring the release of MODEL that was proven elsewhere into ENVIRONMENT."""

    def run() -> None:
        from flows.promote import promote as flow

        if not yes:
            click.confirm(f"promote {model} into {environment}?", abort=True)
        record = flow(model, environment, source=source)
        click.echo(f"{model} in {environment}: release {record.release.id} is proven")

    _call(run, model=model, environment=environment)


@main.command()
@click.argument("model")
@ENVIRONMENT
@click.option("--release", help="the release to put back; default: what the ledger says")
@click.option("--unfinished", is_flag=True, help="only undo a rollout whose run died; else touch nothing")
def rollback(model: str, environment: str, release: str | None, unfinished: bool) -> None:
    """Put back the release of MODEL that served before."""

    def run() -> None:
        from flows.rollback import rollback as flow

        target = flow(model, environment, release=release, unfinished=unfinished)
        if unfinished and not target:
            click.echo(f"{model} in {environment}: nothing was put back")
        else:
            click.echo(f"{model} in {environment}: {target or 'nothing'} serves")

    _call(run, model=model, environment=environment)


@main.command()
@click.argument("model")
@ENVIRONMENT
@click.option(
    "--minutes", type=float, default=30.0, show_default=True, help="no step begins that might end later"
)
@click.option(
    "--step-seconds", type=float, default=60.0, show_default=True, help="each rate's window, at most"
)
def sweep(model: str, environment: str, minutes: float, step_seconds: float) -> None:
    """Find the highest rate at which the objectives of MODEL hold; exit code 4 where it cannot be told."""

    def run() -> None:
        from flows.sweep import sweep as flow

        found = flow(model, environment, minutes=minutes, step_seconds=step_seconds)
        if found.refused:
            raise ValidationFailed(
                f"the knee of {model} in {environment} cannot be told: {found.refused}",
                next_command=f"slipway sweep {model} -e {environment} --step-seconds {2 * step_seconds:g}",
            )
        click.echo(f"{model} in {environment}: objectives hold up to {found.knee:.3g} requests a second")
        click.echo(f"  scaling.requests_per_replica: {found.requests_per_replica}")
        click.echo(f"  engine.max_num_seqs: {found.max_num_seqs}")

    _call(run, model=model, environment=environment)


@main.command("scale-down")
@click.argument("model")
@ENVIRONMENT
def scale_down(model: str, environment: str) -> None:
    """Take the GPUs away from MODEL if nobody uses it."""

    def run() -> None:
        from flows.scale_down import scale_down as flow

        decision = flow(model, environment)
        click.echo(
            f"{model} in {environment}: {'scaled to zero' if decision.act else 'left'}: {decision.reason}"
        )

    _call(run, model=model, environment=environment)


@main.command()
@click.argument("model")
@ENVIRONMENT
def wake(model: str, environment: str) -> None:
    """Bring MODEL back from zero, and prove it with a completion."""

    def run() -> None:
        from flows.wake import wake as flow

        click.echo(f"{model} in {environment} answers: {flow(model, environment)!r}")

    _call(run, model=model, environment=environment)


@main.command()
@ENVIRONMENT
@click.option("--models", type=KEEP, default="keep", show_default=True, help="the bucket of staged models")
@click.option(
    "--volumes", type=KEEP, default="keep", show_default=True, help="cache volumes, which outlive it"
)
@click.option("--confirm", default="", help="the environment's name, where it is protected")
def teardown(environment: str, models: str, volumes: str, confirm: str) -> None:
    """Remove all of an environment, and prove what is left."""

    def run() -> None:
        from flows.teardown import Keep
        from flows.teardown import teardown as flow

        left = flow(  # what was asked to be kept
            environment, models=cast(Keep, models), volumes=cast(Keep, volumes), confirm=confirm
        ).remaining
        click.echo("\n".join(["kept:", *left]) if left else f"{environment}: nothing is left")

    _call(run, environment=environment)


@main.command()
@ENVIRONMENT
def drift(environment: str) -> None:
    """Show what terraform would change; exit code 5 where it would change anything."""

    def run() -> None:
        from flows.drift import drift as flow

        found = flow(environment)
        for row in found:
            click.echo(f"{row['stack']:<8} {row['action']:<8} {row['resource']}")
        click.echo(f"{environment}: {len(found)} resources differ")
        if found:
            sys.exit(5)

    _call(run, environment=environment)


@main.command()
@click.argument("model")
@ENVIRONMENT
def endpoint(model: str, environment: str) -> None:
    """Print the address of MODEL and a request to try; the API key goes into a file only you can read."""

    def run() -> None:
        from flows.endpoint import find_endpoint

        found, key = find_endpoint(model, environment)
        file = project_root() / ".slipway" / "keys" / environment
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_text(key)
        shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        body = (
            f'{{"model": "{model}", "max_tokens": 16, "messages": [{{"role": "user", "content": "Hello"}}]}}'
        )
        click.echo(f"  endpoint       {found.base_url}")
        click.echo(f"  try            curl -s {found.base_url}/chat/completions \\")
        click.echo(f'                   -H "Authorization: Bearer $(cat {shown})" \\')
        click.echo("                   -H 'Content-Type: application/json' \\")
        click.echo(f"                   -d '{body}'")

    _call(run, model=model, environment=environment)


def verdict(report: LoadReport) -> list[str]:
    """The load validation in two lines."""
    ttft, tpot = report.ttft, report.tpot
    return [
        f"  load validation: {report.verdict}: {report.succeeded} of {report.requests} requests "
        f"at {report.achieved_rate:.1f}/s, {report.output_tokens_per_second:.0f} tokens/s",
        f"    first token p50 {ttft.p50 or 0:.0f} ms, p95 {ttft.p95 or 0:.0f} ms; "
        f"time per output token p50 {tpot.p50 or 0:.1f} ms, p95 {tpot.p95 or 0:.1f} ms",
    ]


def _call(
    run: Callable[[], None],
    *,
    model: str | None = None,
    environment: str | None = None,
) -> None:
    """Run it with its progress on the terminal; a SlipwayError as cause, evidence and next command.

    Names are looked up first: a mistyped one must not wait for Prefect to start.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "60")
    signal.signal(signal.SIGINT, _interrupt)
    try:
        if model is not None:
            load_model(model)
        if environment is not None:
            load_environment(environment).check_variables(os.environ)
        show_progress()
        run()
    except SlipwayError as error:
        fail(error)
    except (KeyboardInterrupt, click.Abort):
        fail(Interrupted("interrupted", next_command="run the same command again: it continues"))


def fail(error: SlipwayError) -> None:
    """What happened, what was seen, what to do; then the error's exit code."""
    click.secho(f"error: {error.cause}", fg="red", err=True)
    for line in error.evidence:
        click.echo(f"  | {line}", err=True)
    if error.next_command:
        click.secho(f"  next: {error.next_command}", fg="yellow", err=True)
    sys.exit(error.exit_code)


# the handler of the first command: several may run in one process
_listening: list[logging.Handler] = []


def show_progress() -> None:
    """What the stages say, one line each, and nothing of Prefect's own."""
    import prefect.main  # noqa: F401  importing it sets logging up anew: ours must come after

    if _listening:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: getattr(record, "slipway", False))
    for name in ("prefect.flow_runs", "prefect.task_runs", "slipway"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    _listening.append(handler)


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
    """Commands other packages bring, such as `slipway sandbox` of the extra `sandbox`."""
    for entry in importlib.metadata.entry_points(group="slipway.commands"):
        main.add_command(entry.load(), entry.name)


_add_commands()
