"""Promote: what was proven in one environment comes into the next; nothing is rebuilt, nothing else comes in."""

from __future__ import annotations

from pydantic import Field

from flows.run.approval import approved, check_said
from flows.run.choices import (
    ApprovedBy,
    Choice,
    EnvironmentName,
    Measured,
    ModelName,
    Reason,
    check_names,
    read_choice,
)
from flows.run.proposal import Proposal, of_promotion
from flows.run.runbook import runbook
from flows.run.stages import take_through
from tasks.evidence.task import check_evidence
from tasks.infra.task import preview_changes, read_infrastructure, read_remains
from tasks.records.catalogue import load_environment
from tasks.records.errors import InputError
from tasks.records.results import Feasibility, Release
from tasks.releases.records import Approval, Deployed
from tasks.releases.task import last_proven, proven_release, take_measured
from tasks.site import Site
from tasks.staging.task import inspect_proven, staged_manifest
from tasks.validation.task import check_load


@runbook(name="slipway-promote", run_name="promote {model} to {environment}")
def promote(
    model: ModelName,
    environment: EnvironmentName,
    source: str | None = Field(
        None, description="where it was proven; default: the environment's promote_from"
    ),
    measure_from: Measured = "cluster",
    approved_by: ApprovedBy = "",
    reason: Reason = "",
) -> Deployed:
    """Deploy exactly what is proven in another environment.

    Commit, image and flags come from there, with signed evidence; the hub is not asked. A protected environment waits
    for an approval, with preflight, plan and cost in front of whoever gives it.
    """
    choice = read_choice(model, environment)
    allowed = choice.environment.promote_from
    origin = source or allowed
    if allowed and origin != allowed:
        raise InputError(
            f"only what was proven in {allowed} may come into {environment}",
            next_command=f"slipway promote {model} -e {environment}",
        )
    if not origin:
        raise InputError(
            f"{environment} does not say where promotions come from",
            next_command=f"slipway promote {model} -e {environment} --from ENVIRONMENT",
        )
    check_said(approved_by, reason)
    check_names(choice)
    check_load(choice.model, measure_from)
    proven_in = read_infrastructure(load_environment(origin))
    release = proven_release(proven_in, choice.model)
    inspection, staged = inspect_proven(proven_in, release)
    promoted = check_evidence(
        proven_in, choice.model, release, staged_manifest(proven_in, release), choice.environment
    )

    def approve(judged: Feasibility) -> Approval | None:
        if not choice.environment.protected:
            return None
        return approved(
            lambda: propose(proven_in, choice, release, judged), choice.environment, approved_by, reason
        )

    numbered = take_measured(
        choice.model.with_image(release.image), choice.environment, proven_in.environment
    )
    return take_through(
        # what was proven comes in, whatever was measured here
        numbered.with_sequences(release.engine.max_num_seqs),
        choice.environment,
        inspection,
        proven=staged,
        measure_from=measure_from,
        promoted=promoted,
        approve=approve,
    )


def propose(proven_in: Site, choice: Choice, release: Release, judged: Feasibility) -> Proposal:
    """What a person approves: the plan is made now, and the release that is proven there now is read."""
    model, environment = choice
    _, site = read_remains(environment)
    before = last_proven(site, model) if site else None
    proof = last_proven(proven_in, model)
    return of_promotion(
        release,
        environment.name,
        proof=proof[1] if proof else None,
        before=before[0] if before else None,
        judged=judged,
        changes=preview_changes(environment, model),
    )
