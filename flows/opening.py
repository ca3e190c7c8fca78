"""Open what a person looks at: Prefect's UI, a chat with a model. Not flows."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress

import click

from flows.run.explained import explained
from tasks.records.catalogue import load_environment, project_root
from tasks.records.errors import InputError
from tasks.records.questions import PATHS

NO_BROWSER = click.option("--no-browser", is_flag=True, help="print the address only")
ENVIRONMENT = click.option("-e", "--environment", required=True, help="a file of environments/, by its name")


@click.group("open")
def open_group() -> None:
    """Open Prefect's UI, or a chat with a model."""


@open_group.command("prefect")
@NO_BROWSER
def prefect(no_browser: bool) -> None:
    """Open Prefect's UI."""
    from prefect.settings import get_current_settings

    with explained():
        settings = get_current_settings()
        address = settings.ui_url
        if not address:
            raise InputError(
                "there is no Prefect server to open: PREFECT_API_URL is not set",
                next_command="export PREFECT_API_URL=http://HOST:4200/api, or prefect server start",
            )
        show(str(address), no_browser=no_browser)


@open_group.command("chat")
@click.argument("model")
@ENVIRONMENT
@NO_BROWSER
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="of 127.0.0.1; default: one that is free"
)
def chat(model: str, environment: str, no_browser: bool, port: int) -> None:
    """Open a chat with a model; it is served until Ctrl-C, and has the key so that the page has not."""
    with explained():
        load_environment(environment).check_variables(os.environ)
        from flows.chat.proxy import Upstream, serve
        from flows.endpoint import reached

        found, key, authority = reached(model, environment)
        if found.route != "chat":
            raise InputError(
                f"{model} does not chat: it is asked /v1{PATHS[found.route]}",
                next_command=f"slipway endpoint {model} -e {environment}",
            )
        private = project_root() / authority if authority else None
        upstream = Upstream(found.base_url, key, found.served_name, environment, private)
        # uvicorn ends in order and passes Ctrl-C on: here it is how one ends
        with suppress(KeyboardInterrupt):
            serve(upstream, lambda address: show(address, no_browser=no_browser), port)


def show(address: str, *, no_browser: bool) -> None:
    """Print an address, and open it where there is a browser and somebody looks."""
    click.echo(address)
    if no_browser or not sys.stdout.isatty():
        return
    try:
        webbrowser.open(address)
    except webbrowser.Error:
        click.echo("no browser was found: open that address", err=True)
