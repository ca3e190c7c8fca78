"""The `slipway ci` commands: what a CI job calls. It needs Prefect's address, and no AWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.run.explained import explained
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.quantities import parse_duration


class Seconds(click.ParamType[float]):
    """A duration as the files of models/ write it."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("ci")
def ci_group() -> None:
    """Start a deployment of Prefect from CI, follow its run, and end with its exit code."""


def _ci_command(flow: str, help_text: str) -> click.Command:
    @click.argument("model")
    @click.option("--environment", "-e", required=True)
    @click.option("--ref", metavar="SHA", help="the commit that the worker must have; another is refused")
    @click.option("--timeout", default="2h", show_default=True, type=Seconds(), help="as 90s, 30m or 2h")
    @click.option(
        "--summary",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="GITHUB_STEP_SUMMARY",
        help="append Markdown to this file; default: where GitHub shows it",
    )
    def command(
        model: str,
        environment: str,
        ref: str | None,
        timeout: float,
        summary: Path | None,
        **approval: str,
    ) -> None:
        from flows.ci.follow import run_in_prefect
        from flows.run.approval import check_said

        with explained():
            load_model(model)
            load_environment(environment)
            check_said(approval.get("approved_by", ""), approval.get("reason", ""))
            code = run_in_prefect(
                flow,
                model,
                environment,
                ref=ref,
                timeout=timeout,
                summary=summary,
                say=click.echo,
                parameters=approval,
            )
        sys.exit(code)

    made = click.command(flow, help=help_text)(command)
    if flow == "promote":
        made.params += [
            click.Option(["--approved-by"], default="", metavar="NAME", help="who approved it where CI asks"),
            click.Option(["--reason"], default="", metavar="TEXT", help="why, for the ledger of releases"),
        ]
    return made


ci_group.add_command(_ci_command("deploy", "Deploy a model by a worker."))
ci_group.add_command(
    _ci_command(
        "promote", "Promote what is proven by a worker. A protected environment waits for an approval."
    )
)
ci_group.add_command(_ci_command("preflight", "Say by a worker whether a deploy could succeed."))


@ci_group.command("changed")
@click.option("--base", required=True, metavar="SHA", help="the commit to compare with")
@click.option("--head", default="HEAD", show_default=True, metavar="SHA", help="the commit that is compared")
@click.option(
    "--environment", "-e", "environments", multiple=True, help="only these; default: all but sandboxes"
)
@click.option(
    "--format", "form", type=click.Choice(("json", "lines")), default="json", help="lines: MODEL ENVIRONMENT"
)
def changed(base: str, head: str, environments: tuple[str, ...], form: str) -> None:
    """Print which models on which environments a change touches: a matrix for jobs."""
    from flows.ci.changed import changed_files, touched
    from flows.registration import chosen_environments

    with explained():
        root = project_root()
        models = [load_model(name, root) for name in names("models", root)]
        pairs = touched(changed_files(root, base, head), models, chosen_environments(root, environments))
    if form == "json":
        click.echo(json.dumps([pair._asdict() for pair in pairs]))
    else:
        for pair in pairs:
            click.echo(f"{pair.model} {pair.environment}")
