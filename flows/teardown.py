"""Teardown: everything an environment has, in order, and the proof that nothing is left."""

from __future__ import annotations

from typing import Literal

from prefect import get_run_logger
from pydantic import Field

from flows.run.choices import EnvironmentName
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.addons.task import read_addons, uninstall_addons
from tasks.cache.task import remove_claims
from tasks.infra.task import (
    delete_volumes,
    destroy_cluster,
    destroy_storage,
    end_fast_restores,
    list_inventory,
    price_storage,
    read_remains,
    state_bucket_is_there,
)
from tasks.records.catalogue import load_environment
from tasks.records.environment import Environment
from tasks.records.errors import InputError, TeardownIncomplete
from tasks.records.record import Record
from tasks.rollout.task import remove_serving

Keep = Literal["keep", "delete"]
SAID = {"slipway": True}  # shown on the terminal too


class TornDown(Record):
    """What was there and is gone, and what was there and is kept."""

    removed: list[str]
    remaining: list[str]
    costs: list[str] = Field([], description="what each kept volume and snapshot costs a month")


@runbook(name="teardown", run_name="tear {environment} down")
def teardown(
    environment: EnvironmentName,
    models: Keep = Field("keep", description="the model bucket with everything staged, and the states"),
    volumes: Keep = Field("keep", description="cache volumes and their snapshots: they outlive the cluster"),
    confirm: str = Field("", description="the environment's name, where it is protected"),
) -> TornDown:
    """Remove an environment in order and prove what remains."""
    chosen = load_environment(environment)
    check_confirmed(chosen, confirm)
    log = get_run_logger()
    with turn(chosen):
        before = list_inventory(chosen)
        log.info("teardown: %d things are there", len(before), extra=SAID)
        storage, site = read_remains(chosen)
        if site:
            remove_serving(site)
            remove_claims(site)
            uninstall_addons(site, read_addons())
        left = destroy_cluster(chosen, storage) if storage else []
        if volumes == "delete":
            delete_volumes(chosen)
        else:
            end_fast_restores(chosen)
        if models == "delete" and not left and state_bucket_is_there(chosen):
            left += destroy_storage(chosen)
        remaining = list_inventory(chosen)
        costs = price_storage(chosen) if any(is_storage(line) for line in remaining) else []
        for line in [*remaining, *costs] or ["nothing is left"]:
            log.info("teardown: %s", line, extra=SAID)
        unexpected = left + [line for line in remaining if not may_stay(line, models, volumes)]
        if unexpected:
            raise TeardownIncomplete(
                f"{len(unexpected)} things are left that should be gone",
                evidence=unexpected,
                next_command=f"slipway teardown -e {environment} again; what no state knows of: slipway deploy first, which "
                "adopts it",
            )
        removed = [line for line in before if line not in remaining]
        return TornDown(removed=removed, remaining=remaining, costs=costs)


def check_confirmed(environment: Environment, confirm: str) -> None:
    if environment.protected and confirm != environment.name:
        raise InputError(
            f"{environment.name} is protected",
            next_command=f"slipway teardown -e {environment.name} --confirm {environment.name}",
        )


def may_stay(line: str, models: Keep, volumes: Keep) -> bool:
    """Whether a leftover was asked to be kept."""
    if is_storage(line):
        return volumes == "keep"
    return models == "keep" and line.split()[0] in {"s3", "kms", "secretsmanager"}


def is_storage(line: str) -> bool:
    """A cache volume or a snapshot of one."""
    return line.split()[0] in {"volume", "snapshot"}
