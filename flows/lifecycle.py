"""The whole lifecycle once, in a sandbox on this machine: `slipway run`.

The sandbox is a program beside the product, started and ended as any other is, and reached by the
environment variables it writes; the flows are the ones that run against AWS.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from tasks.cloud.interruption import nap
from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.records.errors import InputError, ToolFailed
from tasks.records.quantities import human_seconds
from tasks.records.results import LoadReport

ENVIRONMENT = "sandbox"
SANDBOX_SECONDS = 180.0


def lifecycle(model: str, *, keep: bool, kubeconfig: Path | None, listen: Callable[[], None]) -> None:
    """deploy, scale-down, wake, teardown; with `keep` only deploy, and everything stays up.

    `kubeconfig` names a control plane to use instead of the sandbox's own. `listen` puts the flows' progress on the
    terminal; it imports Prefect, which reads its settings then: it is called when the sandbox's are in place.
    Raises whatever a flow raises; the sandbox then stays up for a look, and the same command continues.
    """
    began = time.monotonic()
    scraped = load_environment(ENVIRONMENT).scrape_interval
    idle_after = load_model(model).scaling.idle_after + 4 * scraped  # the last request is seen a scrape later
    folder = project_root() / ".sandbox"
    start_sandbox(folder, kubeconfig)
    listen()
    from flows.deploy import deploy
    from flows.scale_down import scale_down
    from flows.teardown import teardown
    from flows.timeline import rows_of
    from flows.wake import wake

    heading(f"deploy {model}")
    state = deploy(model, ENVIRONMENT, return_state=True)
    record: Any = state.result()
    timeline = rows_of(UUID(str(state.state_details.flow_run_id)))
    if keep:
        serve(folder)
        say_addresses(folder, record.rollout.endpoint, model)
        return
    heading("scale down")
    say(f"nobody asks for {human_seconds(idle_after)}; then the GPUs may go")
    nap(idle_after)
    if not (decision := scale_down(model, ENVIRONMENT)).act:
        raise ToolFailed(f"the idle model was not scaled down: {decision.reason}", evidence=decision.evidence)
    heading("wake")
    answer = wake(model, ENVIRONMENT)
    heading("tear down")
    torn_down = teardown(ENVIRONMENT, models="delete", volumes="delete")
    send_logs()
    stop_sandbox(folder)
    heading("what happened")
    for line in timeline:
        click.echo(f"  {line}")
    verdict(record.report)
    click.echo(f"  after the wake, a completion through the gateway (of random weights): {answer!r}")
    click.echo(
        f"  torn down: {len(torn_down.removed)} things; left: {', '.join(torn_down.remaining) or 'nothing'}"
    )
    click.echo(f"  {human_seconds(time.monotonic() - began)} in all")


def verdict(report: LoadReport) -> None:
    """The load validation in a few lines."""
    click.secho(f"  load validation: {report.verdict}", fg="green" if report.verdict == "PASS" else "red")
    click.echo(
        f"    {report.succeeded} of {report.requests} requests at {report.achieved_rate:.1f}/s; "
        f"first token p50 {report.ttft.p50 or 0:.0f} ms, p95 {report.ttft.p95 or 0:.0f} ms; "
        f"time per output token p50 {report.tpot.p50 or 0:.1f} ms, p95 {report.tpot.p95 or 0:.1f} ms; "
        f"{report.output_tokens_per_second:.0f} tokens/s"
    )


def heading(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}")


def start_sandbox(folder: Path, kubeconfig: Path | None) -> None:
    """Start it, or go on in the one that runs, and take its variables into this process."""
    heading("sandbox")
    if importlib.util.find_spec("sandbox") is None:
        raise InputError(
            "the sandbox is not installed", next_command="pip install 'slipway[sandbox]', or make run"
        )
    if sandbox_command("status", folder).returncode == 0:
        say(f"a sandbox runs already: going on in {folder}")
    else:
        began = time.monotonic()
        theirs = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        started = sandbox_command("up", folder, "--detach", *theirs)
        if started.returncode:
            raise ToolFailed(
                "the sandbox did not start", evidence=(started.stdout + started.stderr).splitlines()
            )
        say(f"AWS, hub, Kubernetes and Prefect on loopback, ready in {time.monotonic() - began:.1f} s")
    os.environ.update(read_variables(folder / "env"))
    say(f"Prefect's UI: {os.environ['PREFECT_API_URL'].removesuffix('/api')}")


def send_logs() -> None:
    """What Prefect has gathered of the runs' logs goes to its server now, 5 s at most: it sends every two seconds, and what is
    left once the server has ended is tried for a minute at the exit, with an error at its end."""
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()


def stop_sandbox(folder: Path) -> None:
    ended = sandbox_command("down", folder)
    if ended.returncode:
        raise ToolFailed("the sandbox did not end", evidence=(ended.stdout + ended.stderr).splitlines())
    say("sandbox ended")


def serve(folder: Path) -> None:
    """Every deployment of prefect.yaml, and a worker for them."""
    heading("serve")
    served = sandbox_command("serve", folder, "--project", str(project_root()))
    if served.returncode:
        raise ToolFailed(
            "the deployments are not served", evidence=(served.stdout + served.stderr).splitlines()
        )
    say(served.stdout.strip())


def sandbox_command(verb: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", verb, "--root", str(folder), *more],
        capture_output=True,
        text=True,
        timeout=SANDBOX_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def read_variables(file: Path) -> dict[str, str]:
    """The `export NAME=value` lines of a shell-sourceable file."""
    found = {}
    for line in file.read_text().splitlines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            words = shlex.split(value)
            found[name] = words[0] if words else ""
    return found


def say_addresses(folder: Path, endpoint: Any, model: str) -> None:
    """Where everything is, with a request to try. The key goes into a file of mode 0600, not on the screen."""
    from tasks.infra.task import read_infrastructure
    from tasks.task import cluster_of
    from tasks.validation.task import api_key

    _, infrastructure = read_infrastructure.fn(load_environment(ENVIRONMENT))
    key_file = folder / "api-key"
    key_file.touch(mode=0o600)
    key_file.write_text(api_key(cluster_of(infrastructure), endpoint))
    shown = key_file.relative_to(Path.cwd()) if key_file.is_relative_to(Path.cwd()) else key_file
    heading("up, until `slipway sandbox down`")
    click.echo(f"  Prefect's UI   {os.environ['PREFECT_API_URL'].removesuffix('/api')}")
    click.echo(f"  endpoint       {endpoint.base_url}")
    click.echo(f"  try            curl -s {endpoint.base_url}/chat/completions \\")
    click.echo(
        f'                   -H "Authorization: Bearer $(cat {shown})" -H "Content-Type: application/json" \\'
    )
    click.echo(
        f'                   -d \'{{"model": "{model}", "max_tokens": 16, '
        '"messages": [{"role": "user", "content": "Hello"}]}\''
    )
    click.echo(f"  other clients  . {folder}/env")
    click.echo(
        "  a run          prefect deployment run deploy/deploy --watch "
        f'--params \'{{"model": "{model}", "environment": "{ENVIRONMENT}"}}\''
    )
