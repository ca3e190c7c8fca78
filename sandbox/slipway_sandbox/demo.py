"""Run the product's whole lifecycle in a sandbox by its public commands: `slipway sandbox demo`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import click

from slipway_sandbox.serving import start_worker
from slipway_sandbox.supervisor import SandboxError, down, read_environment, status, up

ENVIRONMENT = "sandbox"
# the model is idle once its `idle_after` has passed without a request; a drill of its sleep is put off until then
IDLE_LOOK_SECONDS = 1.0
IDLE_SECONDS = 180.0
ENV_LOOK_SECONDS = 0.05
SEND_SECONDS = 10.0


class CommandFailed(Exception):
    """A `slipway` command ended with another exit code than 0."""

    def __init__(self, words: tuple[str, ...], code: int) -> None:
        super().__init__(f"slipway {' '.join(words)} ended with exit code {code}")
        self.code = code


def demo(root: Path, model: str, *, keep: bool, kubeconfig: Path | None, policies: Path | None) -> None:
    """Start a sandbox, deploy, drill sleep and wake, tear down, end it; with `keep` stop after deploy and leave all up.

    A sandbox that runs at `root` already is used. Raises SandboxError, CommandFailed; the sandbox then stays up.
    """
    began = time.monotonic()
    root = root.resolve()
    heading("sandbox")
    run = start(root, kubeconfig, policies)
    heading(f"deploy {model}")
    # on a terminal a first deploy asks, by its price: here it is a sandbox that pays
    run("deploy", model, "-e", ENVIRONMENT, "--yes")
    if keep:
        heading("serve")
        run("prefect", "apply", "-e", ENVIRONMENT)
        click.echo(f"every deployment of sandbox is served by worker {start_worker(root, Path())}")
        heading("up, until `slipway sandbox down`")
        say_addresses(root, model)
        run("endpoint", model, "-e", ENVIRONMENT)
        return
    heading("drill: it sleeps when nobody uses it, and wakes")
    drill_wake(run, model)
    run("status", "-e", ENVIRONMENT)
    heading("tear down")
    run("teardown", "-e", ENVIRONMENT, "--models", "delete", "--volumes", "delete")
    send_what_waits()
    down(root)
    click.echo("sandbox ended")
    heading("what happened")
    for words, seconds in run.took:
        click.echo(f"  slipway {' '.join(words):<60} {seconds:6.1f} s")
    click.echo(f"  {time.monotonic() - began:.1f} s in all")


def start(root: Path, kubeconfig: Path | None, policies: Path | None) -> Commands:
    """Bring a sandbox up, and meanwhile load the product's commands, which takes seconds: they need its variables only."""
    if status(root).pid:
        click.echo(f"a sandbox runs already: going on in {root}")
        run = Commands(read_environment(root))
    else:
        # of an earlier sandbox that was killed: its addresses would be read
        (root / "env").unlink(missing_ok=True)
        with ThreadPoolExecutor(1) as aside:
            starting = aside.submit(up, root, kubeconfig=kubeconfig, policies=policies)
            while not (root / "env").exists() and not starting.done():
                time.sleep(ENV_LOOK_SECONDS)
            if (root / "env").exists():
                run = Commands(read_environment(root))
            seconds = starting.result()
        click.echo(f"AWS, hub, Kubernetes and Prefect on loopback, ready in {seconds:.1f} s")
    click.echo(f"Prefect's UI: {ui(root)}")
    return run


def send_what_waits() -> None:
    """Send the log lines and events Prefect's client still holds; the server they are for ends before this process."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SEND_SECONDS)


def drill_wake(run: Commands, model: str) -> None:
    """Ask until the model has been idle long enough to be drilled. Raises SandboxError where it never was."""
    deadline = time.monotonic() + IDLE_SECONDS
    while "wake: kept" not in run("drill", model, "-e", ENVIRONMENT, "--promise", "wake"):
        if time.monotonic() >= deadline:
            raise SandboxError(f"the model was not idle within {IDLE_SECONDS:.0f} s: it was not drilled")
        time.sleep(IDLE_LOOK_SECONDS)


class Commands:
    """Runs `slipway` commands in this process, which imports Prefect once, and keeps how long each took."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # before the command line is loaded: Prefect and the hub's client read them when they are imported
        os.environ.update(variables)
        (script,) = importlib.metadata.entry_points(group="console_scripts", name="slipway")
        self._main: click.Group = script.load()
        # a command loads its flow, and Prefect with it, when it is asked for its options
        context = click.Context(self._main)
        if deploy := self._main.get_command(context, "deploy"):
            deploy.get_params(context)
        self.took: list[tuple[tuple[str, ...], float]] = []

    def __call__(self, *words: str) -> str:
        """The command's output, which is shown as it comes. Raises CommandFailed."""
        began = time.monotonic()
        output = Copied(sys.stdout)
        code = 0
        with contextlib.redirect_stdout(output):
            try:
                self._main.main(list(words), prog_name="slipway", standalone_mode=False)
            except SystemExit as end:
                code = int(end.code or 0)
        self.took.append((words, time.monotonic() - began))
        if code:
            raise CommandFailed(words, code)
        return "".join(output.written)


class Copied:
    """A text stream that also keeps what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.written: list[str] = []

    def write(self, text: object) -> int:
        if not isinstance(text, str):  # click finds out by this whether a stream takes bytes
            raise TypeError("a text stream takes text")
        self.written.append(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def heading(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def ui(root: Path) -> str:
    return read_environment(root)["PREFECT_API_URL"].removesuffix("/api")


def say_addresses(root: Path, model: str) -> None:
    click.echo(f"  Prefect's UI   {ui(root)}")
    click.echo(f"  other clients  . {root}/env")
    click.echo(
        f"  a run          prefect deployment run slipway-deploy/{ENVIRONMENT} --watch --param model={model}"
    )
