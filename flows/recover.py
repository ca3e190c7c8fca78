"""Recover: undo rollouts whose run was killed. Runs on a schedule, because an event can be lost and a ledger cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from prefect import get_run_logger
from pydantic import Field

from flows.run.choices import EnvironmentName
from flows.run.runbook import runbook
from flows.run.turn import turn
from flows.run.unfinished import undo_unfinished
from tasks.infra.task import read_remains
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.environment import Environment
from tasks.records.errors import AccessDenied, ClusterBusy, InputError, SlipwayError
from tasks.records.progress import SHOWN
from tasks.releases.task import unfinished_models


@runbook(name="slipway-recover", run_name="undo what stopped runs left")
def recover(
    environment: EnvironmentName | None = Field(
        None, description="one environment; default: each one that the credentials are for"
    ),
) -> list[str]:
    """Undo the rollouts that stopped runs left unfinished.

    Where a run works on the cluster nothing happens: its rollout is its own.
    """
    if environment:
        return recover_one(load_environment(environment))
    root, log = project_root(), get_run_logger()
    done: list[str] = []
    failed: list[SlipwayError] = []
    elsewhere: list[SlipwayError] = []
    for name in names("environments", root):
        try:
            done += recover_one(load_environment(name, root))
        except (AccessDenied, InputError) as error:
            log.info("%s: not from here: %s", name, error.cause, extra=SHOWN)
            elsewhere.append(error)
        except SlipwayError as error:
            log.warning("%s: %s", name, error.cause, extra=SHOWN)
            failed.append(error)
    if failed:
        raise failed[0]
    if elsewhere and len(elsewhere) == len(names("environments", root)):
        raise elsewhere[0]
    return done


def recover_one(environment: Environment) -> list[str]:
    """Undo what is unfinished in one environment; a line for each model. Raises SlipwayError."""
    environment.check_variables(os.environ)
    if not left_in(environment):
        return []
    try:
        # whoever works there undoes its own; one that is dead or silent is taken over from
        with turn(environment, give_way=True):
            return list(undone(environment, left_in(environment)))
    except ClusterBusy as busy:
        get_run_logger().info("%s: %s", environment.name, busy.cause, extra=SHOWN)
        return []


def left_in(environment: Environment) -> list[str]:
    """The models whose rollout began there and was neither proved nor undone."""
    _, site = read_remains(environment)
    return unfinished_models(site, names("models", project_root())) if site else []


def undone(environment: Environment, models: Sequence[str]) -> Iterator[str]:
    """Undo them one after the other."""
    for name in models:
        target = undo_unfinished(load_model(name), environment, "cluster")
        yield f"{name} in {environment.name}: {target or 'nothing'} serves"
