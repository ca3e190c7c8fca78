"""Tag a run with what it works on: model, environment, commit of the project."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.run.tags import COMMIT_TAG, ENVIRONMENT_TAG, EXIT_LABEL, WANTED_COMMIT_TAG, tags_of
from tasks.records.catalogue import project_root
from tasks.records.errors import InputError

GIT_SECONDS = 10.0


def label_run(flow: str) -> None:
    """Add the tags of this run. Raises InputError where its deployment is of another environment, or this worker of another commit."""
    run_id = flow_run.get_id()
    if not run_id:
        return
    given, tags = flow_run.get_parameters(), flow_run.get_tags()
    check_environment(given, tags)
    wanted = tags_of(flow, given)
    commit = commit_of(project_root())
    check_commit(commit, tags)
    if commit:
        wanted.append(COMMIT_TAG + commit)
    # in place: the run's context, and so its summary, has them too
    tags[:] = sorted({*tags, *wanted})
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(run_id), tags=tags)


def leave_exit_code(code: int) -> None:
    """Label this run with the exit code of its error, for who follows it from outside (`slipway ci`)."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(str(flow_run.get_id())), {EXIT_LABEL: code})


def check_environment(given: Mapping[str, Any], tags: Sequence[str]) -> None:
    """Refuse a run whose deployment's tag says another environment than its parameter. Pure."""
    of = [tag.removeprefix(ENVIRONMENT_TAG) for tag in tags if tag.startswith(ENVIRONMENT_TAG)]
    asked = given.get("environment")
    if of and asked and asked not in of:
        raise InputError(
            f"this deployment is of {of[0]}, and was asked for {asked}",
            next_command=f"prefect deployment ls | grep {asked}",
        )


def check_commit(commit: str | None, tags: Sequence[str]) -> None:
    """Refuse a run of CI for another commit than the files here are of. Either may be shortened. Pure."""
    for asked in (tag.removeprefix(WANTED_COMMIT_TAG) for tag in tags if tag.startswith(WANTED_COMMIT_TAG)):
        if commit is None:
            raise InputError(
                f"CI asks for commit {asked[:12]}, and this worker cannot tell which it has",
                next_command="set SLIPWAY_COMMIT where the worker runs, or run it from a git checkout",
            )
        if not (asked.startswith(commit) or commit.startswith(asked)):
            raise InputError(
                f"CI asks for commit {asked[:12]}, and this worker has {commit}",
                next_command=f"git -C {project_root()} fetch && git -C {project_root()} checkout {asked[:12]}",
            )


def commit_of(project: Path) -> str | None:
    """The commit the project's files are of: SLIPWAY_COMMIT, as an image says it, else git's; None where neither does."""
    if given := os.environ.get("SLIPWAY_COMMIT"):
        return given[:12]
    try:
        done = subprocess.run(
            ["git", "-C", str(project), "rev-parse", "--short=12", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
