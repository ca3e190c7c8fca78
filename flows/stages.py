"""Every stage in order, from preflight to the proof: the graph that deploy and promote share."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.futures import PrefectFuture

from flows.graph import settle, start, wait_for_all
from flows.timeline import tell_timeline
from flows.turn import turn
from tasks.addons.task import install_addon, read_addons
from tasks.cache.task import end_fast_restores, warm_cache
from tasks.cache.task import preview as preview_of_warming
from tasks.infra.task import apply_cluster, apply_storage, gpu_nodes
from tasks.preflight.task import check_feasible
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed, SlipwayError, ValidationFailed, as_slipway_error
from tasks.records.model import Model
from tasks.records.results import HubInspection, LoadReport, StagedModel
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import (
    keep_evidence,
    keep_page,
    last_proven,
    last_swept,
    mark_proven,
    needed_commits,
)
from tasks.rollout.task import prepare_namespace, preview, roll_out, undo
from tasks.staging.task import copy_model, stage_model
from tasks.validation.task import draw_page, validate


def take_through(
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    may_destroy: Sequence[str] = (),
    *,
    proven: StagedModel | None = None,
) -> ReleaseRecord:
    """What deploy and promote do alike. `proven`: what to copy inside S3 instead of asking the hub."""
    documents = [
        *preview_of_warming(environment, model, inspection),
        *preview(environment, model, inspection),
    ]
    check_feasible(environment, model, inspection, documents)
    with turn(environment), tell_timeline():
        storage = start(apply_storage, environment, may_destroy)
        staged = (
            start(copy_model, environment, storage, proven)
            if proven
            else start(stage_model, environment, storage, inspection)
        )
        site = start(apply_cluster, environment, storage, may_destroy)
        nodes = start(gpu_nodes, site)
        namespace = start(prepare_namespace, site)
        addons: dict[str, PrefectFuture[str]] = {}
        for addon in read_addons():
            needs = [addons[need] for need in addon.needs]
            addons[addon.name] = start(install_addon, site, addon, after=[nodes, *needs])
        needed = start(needed_commits, site, model)
        volumes = [addons["aws-ebs-csi-driver"], addons["snapshot-controller"]]
        cache = start(warm_cache, site, model, staged, needed, after=[namespace, nodes, *volumes])
        before = start(last_proven, site, model)
        swept = start(last_swept, site, model)
        # up to here a run can be repeated as it is; from here on there is something to go back to
        wait_for_all(
            [storage, staged, site, nodes, namespace, needed, *addons.values(), cache, before, swept]
        )
        try:
            rolled = start(roll_out, site, model, cache, inspection, after=addons.values())
            endpoint = rolled.result().endpoint
            report = start(validate, site, model, endpoint, before, after=[rolled]).result()
            page = draw_page(model, rolled.result().release, report, swept.result())
            keep_page(site.result(), model, rolled.result(), page, "load-report")
            if report.verdict != "PASS":
                keep_evidence(site.result(), model, rolled.result(), report)
                raise verdict_error(model.name, report)
        except (Exception, KeyboardInterrupt) as failure:
            settle()
            try:
                undo(site.result(), model)
            except SlipwayError as second:
                raise both(failure, second) from failure
            raise
        proven_now = mark_proven(site.result(), model, rolled.result(), report)
        end_fast_restores(site.result(), model, cache.result())
        return proven_now


def both(failure: BaseException, second: SlipwayError) -> SlipwayError:
    """Why the release did not come up, and why what served before does not serve now either."""
    first = as_slipway_error(failure)
    return RolloutFailed(
        f"{first.cause}; and what served before could not be put back: {second.cause}",
        evidence=[*first.evidence, *second.evidence],
        next_command=second.next_command,
    )


def verdict_error(model: str, report: LoadReport) -> ValidationFailed:
    """FAIL: the objectives did not hold. INCONCLUSIVE: the generator could not tell, which proves nothing."""
    return ValidationFailed(
        f"load validation of {model}: {report.verdict}: {report.reasons[0] if report.reasons else ''}",
        evidence=report.reasons[1:],
        next_command="look at the load report's table in the run; what served before was put back",
    )
