"""Every stage in order, from preflight to the proof: the graph that deploy and promote share."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.futures import PrefectFuture

from flows.graph import settle, start, wait_for_all
from flows.timeline import tell_timeline
from flows.turn import turn
from tasks.addons.catalogue import load_addons
from tasks.addons.task import install_addon
from tasks.cache.task import end_fast_restores, warm_cache
from tasks.cache.task import preview as preview_of_warming
from tasks.infra.task import apply_cluster, apply_storage, gpu_nodes
from tasks.preflight.task import check_feasible
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed, SlipwayError, ValidationFailed
from tasks.records.model import Model
from tasks.records.results import HubInspection, LoadReport, StagedModel
from tasks.rollout.ledger import ReleaseRecord
from tasks.rollout.task import (
    keep_evidence,
    keep_page,
    last_proven,
    last_swept,
    mark_proven,
    needed_commits,
    prepare_namespace,
    preview,
    roll_out,
    served_at,
    undo,
)
from tasks.staging.task import copy_model, stage_model
from tasks.validation.task import draw_page, validate


def take_through(
    what: Model,
    where: Environment,
    inspection: HubInspection,
    may_destroy: Sequence[str] = (),
    *,
    proven: StagedModel | None = None,
) -> ReleaseRecord:
    """What deploy and promote do alike. `proven`: what to copy inside S3 instead of asking the hub."""
    documents = [*preview_of_warming(what, where, inspection), *preview(what, where, inspection)]
    check_feasible(what, where, inspection, documents)
    with turn(where), tell_timeline():
        storage = start(apply_storage, where, may_destroy)
        staged = (
            start(copy_model, proven, storage, where)
            if proven
            else start(stage_model, inspection, storage, where)
        )
        cluster = start(apply_cluster, where, storage, may_destroy)
        nodes = start(gpu_nodes, where, cluster)
        namespace = start(prepare_namespace, where, cluster)
        addons: dict[str, PrefectFuture[str]] = {}
        for addon in load_addons(project_root()):
            needs = [addons[need] for need in addon.needs]
            addons[addon.name] = start(install_addon, addon, where, cluster, after=[nodes, *needs])
        needed = start(needed_commits, what, where, storage)
        volumes = [addons["aws-ebs-csi-driver"], addons["snapshot-controller"]]
        cache = start(warm_cache, what, where, cluster, staged, needed, after=[namespace, nodes, *volumes])
        before = start(last_proven, what, where, storage)
        swept = start(last_swept, what, where, storage)
        # up to here a run can be repeated as it is; from here on there is something to go back to
        wait_for_all(
            [storage, staged, cluster, nodes, namespace, needed, *addons.values(), cache, before, swept]
        )
        try:
            rolled = start(roll_out, what, where, storage, cluster, cache, inspection, after=addons.values())
            endpoint = served_at(rolled.result())
            report = start(validate, what, where, cluster, endpoint, before, after=[rolled]).result()
            page = draw_page(what, rolled.result().release, report, swept.result())
            keep_page(what, where, storage.result(), rolled.result(), page, "load-report")
            if report.verdict != "PASS":
                keep_evidence(what, where, storage.result(), rolled.result(), report)
                raise verdict_error(what.name, report)
        except (Exception, KeyboardInterrupt) as failure:
            settle()
            try:
                undo(what, where, storage.result(), cluster.result())
            except SlipwayError as second:
                raise both(failure, second) from failure
            raise
        proven_now = mark_proven(what, where, storage.result(), rolled.result(), report)
        end_fast_restores(what, where, cluster.result(), cache.result())
        return proven_now


def both(failure: BaseException, second: SlipwayError) -> SlipwayError:
    """Why the release did not come up, and why what served before does not serve now either."""
    first = failure if isinstance(failure, SlipwayError) else SlipwayError(str(failure) or "interrupted")
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
