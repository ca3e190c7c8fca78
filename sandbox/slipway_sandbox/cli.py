"""`slipway sandbox`: start, look at, break and end a sandbox. An entry point of the group slipway.commands."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from slipway_sandbox.demo import CommandFailed, demo
from slipway_sandbox.faults import CATALOGUE, Faults, UnknownFault
from slipway_sandbox.serving import serve
from slipway_sandbox.supervisor import SandboxError, down, read_environment, status, up

ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path(".sandbox"),
    show_default=True,
    help="the folder of the sandbox",
)


@click.group()
def sandbox() -> None:
    """A region on this machine: AWS, hub, Kubernetes, GPU nodes, metrics."""


IAM = click.option(
    "--iam",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="a folder of IAM policies, NAME.json each: every AWS call is refused that they do not allow",
)

ENGINE = click.option(
    "--engine",
    metavar="vllm|PROGRAM",
    help="pods run a real vLLM, a CPU build: `vllm` is the one `make real-engine` installs, or the one on PATH",
)


@sandbox.command("up")
@ROOT
@IAM
@ENGINE
@click.option("--detach", is_flag=True, help="return when it is ready, and leave it running")
@click.option("--port", type=int, help="port of the Prefect server; default: a free one")
@click.option("--no-prefect", is_flag=True, help="without a Prefect server")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="a control plane without kubelets, used instead of the embedded one",
)
def up_command(
    root: Path,
    iam: Path | None,
    engine: str | None,
    detach: bool,
    port: int | None,
    no_prefect: bool,
    kubeconfig: Path | None,
) -> None:
    """Start a sandbox and write FOLDER/env."""
    try:
        seconds = up(
            root,
            prefect=not no_prefect,
            prefect_port=port,
            kubeconfig=kubeconfig,
            policies=iam,
            engine=engine,
        )
    except SandboxError as error:
        _fail(error)
    click.echo(
        f"sandbox ready in {seconds:.1f} s: `. {root}/env` makes any AWS, hub or kubectl client use it"
    )
    if detach:
        return
    click.echo("Ctrl-C ends it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while status(root.resolve()).pid:
            time.sleep(0.5)
    except (KeyboardInterrupt, SystemExit):
        click.echo("ending the sandbox")
    finally:
        down(root)


@sandbox.command("demo")
@ROOT
@IAM
@click.option("--keep", is_flag=True, help="stop after the deployment and leave everything up")
@click.option("--model", default="tiny-llama", show_default=True)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="a control plane without kubelets, used instead of the embedded one",
)
def demo_command(root: Path, iam: Path | None, keep: bool, model: str, kubeconfig: Path | None) -> None:
    """Run the whole lifecycle: deploy, a drill of sleep and wake, teardown."""
    try:
        demo(root, model, keep=keep, kubeconfig=kubeconfig, policies=iam)
    except SandboxError as error:
        _fail(error)
    except CommandFailed as error:
        click.secho(f"error: {error}", fg="red", err=True)
        click.echo(
            f"  the sandbox stays up for a look: . {root}/env; `slipway sandbox down` ends it", err=True
        )
        sys.exit(error.code)


@sandbox.command("down")
@ROOT
def down_command(root: Path) -> None:
    """End every process of the sandbox, and only those."""
    try:
        click.echo("sandbox ended" if down(root) else f"no sandbox runs at {root}")
    except SandboxError as error:
        _fail(error)


@sandbox.command("serve")
@ROOT
@click.option("--project", type=click.Path(path_type=Path), default=Path(), help="the project's folder")
def serve_command(root: Path, project: Path) -> None:
    """Serve the deployments of environment `sandbox` in the sandbox's Prefect."""
    try:
        pid = serve(root.resolve(), project)
    except SandboxError as error:
        _fail(error)
    click.echo(f"every deployment of sandbox is served by worker {pid}")


@sandbox.command("status")
@ROOT
def status_command(root: Path) -> None:
    """What runs, and where; exit code 1 where nothing does."""
    found = status(root.resolve())
    if found.pid is None:
        click.echo(f"no sandbox runs at {root}")
        sys.exit(1)
    click.echo(f"supervisor  pid {found.pid}")
    for name, pid in found.running.items():
        click.echo(f"{name:<11} pid {pid}")
    values = read_environment(root.resolve())
    for name in ("AWS_ENDPOINT_URL", "HF_ENDPOINT", "PROMETHEUS_URL", "PREFECT_API_URL", "KUBECONFIG"):
        click.echo(f"{name}={values[name]}")


@sandbox.group()
def fault() -> None:
    """Make things fail: each fault has a name."""


@fault.command("list")
@ROOT
def fault_list(root: Path) -> None:
    """Every fault, and which are set."""
    active = {fault.name: fault for fault in Faults(root / "faults.json").active()}
    for name, what in CATALOGUE.items():
        state = ""
        if name in active:
            count = active[name].count
            state = f"  [set: target {active[name].target}, {'without end' if count is None else f'{count} left'}]"
        click.echo(f"{name:<20} {what}{state}")


@fault.command("set")
@ROOT
@click.argument("name")
@click.option("--target", default="*", help="what it strikes; a pattern")
@click.option("--count", type=int, help="how often it strikes; default: without end")
@click.option("--probability", type=float, default=1.0, show_default=True)
@click.option("--value", type=float, help="the fault's own parameter")
def fault_set(
    root: Path, name: str, target: str, count: int | None, probability: float, value: float | None
) -> None:
    """Switch a fault on."""
    try:
        Faults(root / "faults.json").set(
            name, target=target, count=count, probability=probability, value=value
        )
    except UnknownFault as error:
        _fail(error)


@fault.command("clear")
@ROOT
@click.argument("name", required=False)
def fault_clear(root: Path, name: str | None) -> None:
    """Switch one fault off, or all."""
    Faults(root / "faults.json").clear(name)


def _fail(error: Exception) -> NoReturn:
    click.secho(f"error: {error}", fg="red", err=True)
    sys.exit(1)
