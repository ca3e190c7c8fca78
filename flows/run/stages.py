"""Every stage in order, from preflight to the proof: the graph that deploy and promote share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect.futures import PrefectFuture

from flows.run.graph import Graph, result_of
from flows.run.timeline import tell_timeline
from flows.run.turn import turn
from tasks.addons.task import install_addon, read_addons
from tasks.cache.task import end_fast_restores, warm_cache
from tasks.cache.task import preview as preview_of_warming
from tasks.infra.task import apply_cluster, apply_storage, gpu_nodes
from tasks.preflight.task import check_feasible
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed, SlipwayError, ValidationFailed, as_slipway_error
from tasks.records.model import Model
from tasks.records.reports import LoadReport, Sweep
from tasks.records.results import HubInspection, StagedModel, WarmCache
from tasks.records.stop import STOP
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import keep_evidence, keep_page, last_proven, last_swept, mark_proven, needed_commits
from tasks.rollout.task import prepare_namespace, roll_out, undo
from tasks.rollout.task import preview as preview_of_rollout
from tasks.site import Site
from tasks.staging.task import copy_model, stage_model
from tasks.validation.task import draw_page, validate


def take_through(
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    may_destroy: Sequence[str] = (),
    *,
    proven: StagedModel | None = None,
    revalidate: bool = False,
) -> ReleaseRecord:
    """Check that it can succeed, then provision and prove. `proven`: copy this inside S3 instead of asking the hub."""
    check_feasible(environment, model, inspection, manifests(environment, model, inspection))
    with turn(environment), tell_timeline(), tasks_of_this_run() as graph:
        ready = provision(graph, model, environment, inspection, may_destroy, proven)
        return prove(graph, model, inspection, ready, revalidate)


def manifests(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """Every document that warming and the rollout will apply, the namespace before what is in it."""
    documents = [
        *preview_of_warming(environment, model, inspection),
        *preview_of_rollout(environment, model, inspection),
    ]
    return sorted(documents, key=lambda document: document["kind"] != "Namespace")


@dataclass(frozen=True)
class Ready:
    """What is there once a release can be rolled out."""

    site: Site
    cache: PrefectFuture[WarmCache]
    addons: Sequence[PrefectFuture[str]]
    before: PrefectFuture[tuple[str, LoadReport] | None]
    swept: PrefectFuture[tuple[str, Sweep] | None]


def provision(
    graph: Graph,
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    may_destroy: Sequence[str],
    proven: StagedModel | None,
) -> Ready:
    """Infrastructure, add-ons, weights in S3 and on the volume, all at once. A run that ends here can be repeated."""
    storage = graph.submit(apply_storage, environment, may_destroy)
    if proven:
        staged = graph.submit(copy_model, environment, result_of(storage), proven)
    else:
        staged = graph.submit(stage_model, environment, result_of(storage), inspection)
    cluster = graph.submit(apply_cluster, environment, result_of(storage), may_destroy)
    site = result_of(cluster)
    nodes = graph.submit(gpu_nodes, site)
    namespace = graph.submit(prepare_namespace, site)
    addons: dict[str, PrefectFuture[str]] = {}
    for addon in read_addons():
        needs = [addons[need] for need in addon.needs]
        addons[addon.name] = graph.wait_for(nodes, *needs).submit(install_addon, site, addon)
    needed = result_of(graph.submit(needed_commits, site, model))
    before = graph.submit(last_proven, site, model)
    swept = graph.submit(last_swept, site, model)
    volumes = [addons["aws-ebs-csi-driver"], addons["snapshot-controller"]]
    cache = graph.wait_for(namespace, nodes, *volumes).submit(
        warm_cache, site, model, result_of(staged), needed
    )
    graph.wait()
    return Ready(cluster.result(), cache, list(addons.values()), before, swept)


def prove(
    graph: Graph, model: Model, inspection: HubInspection, ready: Ready, revalidate: bool
) -> ReleaseRecord:
    """Roll out, load, and write that it is proven, one after the other. A failure puts back what served before."""
    site, cache = ready.site, result_of(ready.cache)
    with undone_on_failure(graph, site, model):
        rolled = graph.wait_for(*ready.addons).submit(roll_out, site, model, cache, inspection)
        release = result_of(rolled)
        validated = graph.submit(validate, site, model, release, result_of(ready.before), revalidate)
        report = result_of(validated)
        page = graph.submit(draw_page, model, release, report, result_of(ready.swept))
        kept = graph.submit(keep_page, site, model, release, result_of(page), "load-report")
        graph.wait()
        if validated.result().verdict != "PASS":
            graph.wait_for(kept).submit(keep_evidence, site, model, release, report).result()
            raise verdict_error(model.name, validated.result())
    marked = graph.wait_for(kept).submit(mark_proven, site, model, release, report)
    graph.wait_for(marked).submit(end_fast_restores, site, model, cache)
    graph.wait()
    return marked.result()


@contextmanager
def tasks_of_this_run() -> Iterator[Graph]:
    """A graph whose tasks have all ended when the block ends, also when it fails."""
    graph = Graph()
    try:
        yield graph
    finally:
        graph.settle()


@contextmanager
def undone_on_failure(graph: Graph, site: Site, model: Model) -> Iterator[None]:
    """Put back what served before when the block fails or is interrupted, once nothing of it runs any more."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as failure:
        graph.settle()
        STOP.clear()
        try:
            undo(site, model)
        except SlipwayError as second:
            raise both(failure, second) from failure
        raise


def both(failure: BaseException, second: SlipwayError) -> SlipwayError:
    """Why the release failed, and why what served before could not be put back."""
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
