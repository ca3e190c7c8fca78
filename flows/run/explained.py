"""End a command with what its error says: cause, evidence, next command, and the error's exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tasks.records.errors import Interrupted, PrefectUnavailable, SlipwayError

AGAIN = "run the same command again: it continues"
# Prefect 3.8.8, client/orchestration: what a client raises where its first question gets no answer
_NO_API = "Failed to reach API at "


@contextmanager
def explained() -> Iterator[None]:
    """End the process with what a SlipwayError, a Ctrl-C or an absent Prefect server in the block says."""
    try:
        yield
    except SlipwayError as error:
        fail(error)
    except (KeyboardInterrupt, click.Abort):
        fail(Interrupted("interrupted", next_command=AGAIN))
    except Exception as error:
        if away := prefect_away(error):
            fail(away)
        raise


def prefect_away(error: BaseException) -> SlipwayError | None:
    """The error of a Prefect client whose server does not answer; None for any other. Hub and engine have errors of their own."""
    import httpx  # takes a tenth of a second, which most commands do not need

    if not isinstance(error, httpx.TransportError) and not str(error).startswith(_NO_API):
        return None
    address = os.environ.get("PREFECT_API_URL") or "the one of Prefect's profile"
    return PrefectUnavailable(
        f"Prefect's server does not answer: {address}",
        evidence=[str(error) or type(error).__name__],
        next_command="prefect config view shows where PREFECT_API_URL is set; without it a server of this command's own is used",
    )


def fail(error: SlipwayError) -> None:
    """Print cause, evidence and next command; exit with the error's code."""
    click.secho(f"error: {error.cause}", fg="red", err=True)
    for line in error.evidence:
        click.echo(f"  | {line}", err=True)
    if error.next_command:
        click.secho(f"  next: {error.next_command}", fg="yellow", err=True)
    sys.exit(error.exit_code)
