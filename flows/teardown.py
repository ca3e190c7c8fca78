"""Teardown: everything an environment has, in order, and the proof that nothing is left."""

from __future__ import annotations

from typing import Literal

from prefect import get_run_logger
from pydantic import Field

from flows.run.approval import approved, check_said
from flows.run.choices import ApprovedBy, EnvironmentName, Reason
from flows.run.proposal import Proposal, of_teardown
from flows.run.runbook import runbook
from flows.run.turn import turn
from tasks.addons.task import read_addons, uninstall_addons
from tasks.cache.task import leave_cluster, remove_claims
from tasks.infra.task import (
    delete_volumes,
    destroy_cluster,
    destroy_storage,
    end_fast_restores,
    list_inventory,
    price_storage,
    read_remains,
    remove_gpu_nodes,
    state_bucket_is_there,
)
from tasks.records.catalogue import load_environment
from tasks.records.environment import Environment
from tasks.records.errors import InputError, TeardownIncomplete
from tasks.records.progress import SHOWN
from tasks.records.record import Record
from tasks.releases.records import Approval
from tasks.rollout.task import remove_serving

Keep = Literal["keep", "delete"]


class TornDown(Record):
    """What was there and is gone, and what was there and is kept."""

    removed: list[str]
    remaining: list[str]
    costs: list[str] = Field([], description="what each kept volume and snapshot costs a month")
    approval: Approval | None = None


@runbook(name="slipway-teardown", run_name="tear {environment} down")
def teardown(
    environment: EnvironmentName,
    models: Keep = Field("keep", description="the model bucket with everything staged, and the states"),
    volumes: Keep = Field("keep", description="cache volumes and their snapshots: they outlive the cluster"),
    confirm: str = Field("", description="the environment's name, where it is protected"),
    approved_by: ApprovedBy = "",
    reason: Reason = "",
) -> TornDown:
    """Remove an environment in order and prove what remains.

    A protected one waits for an approval, with what is there in front of whoever gives it.
    """
    chosen = load_environment(environment)
    check_confirmed(chosen, confirm)
    check_said(approved_by, reason)
    log = get_run_logger()
    approval = None
    if chosen.protected:
        approval = approved(lambda: propose(chosen, models, volumes), chosen, approved_by, reason)
    with turn(chosen):
        before = list_inventory(chosen)
        log.info("teardown: %d things are there", len(before), extra=SHOWN)
        storage, site = read_remains(chosen)
        if site:
            remove_serving(site)
            remove_claims(site)
            remove_gpu_nodes(site)
            uninstall_addons(site, read_addons(chosen))
            if chosen.existing.cluster:
                leave_cluster(site)
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
            log.info("teardown: %s", line, extra=SHOWN)
        unexpected = left + [line for line in remaining if not may_stay(line, models, volumes)]
        if unexpected:
            raise TeardownIncomplete(
                f"{len(unexpected)} things are left that should be gone",
                evidence=unexpected,
                next_command=f"slipway teardown -e {environment} again; what no state knows of: slipway deploy first, which "
                "adopts it",
            )
        removed = [line for line in before if line not in remaining]
        return TornDown(removed=removed, remaining=remaining, costs=costs, approval=approval)


def propose(environment: Environment, models: Keep, volumes: Keep) -> Proposal:
    """What a person approves, with everything that is there now."""
    there = list_inventory(environment)
    costs = price_storage(environment) if any(is_storage(line) for line in there) else []
    return of_teardown(environment.name, there, goes={"models": models, "volumes": volumes}, costs=costs)


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
