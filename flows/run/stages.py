"""Every stage in order, from preflight to the proof: the graph that deploy and promote share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prefect.events import emit_event
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture

from flows.run.conclude import in_a_run
from flows.run.events import put_back
from flows.run.graph import Graph, result_of
from flows.run.phases import Phase, phase, tasks_of_this_phase
from flows.run.seconds import tell_seconds
from flows.run.timeline import tell_timeline
from flows.run.turn import turn
from tasks.addons.task import check_webhook, find_addon, install_addon, read_addons
from tasks.alerts.task import apply_alerts
from tasks.alerts.task import preview as preview_of_alerts
from tasks.cache.task import choose_weights, end_fast_restores, find_warm_cache, warm_cache
from tasks.cache.task import preview as preview_of_warming
from tasks.evidence.task import check_staged_evidence, sign_evidence
from tasks.infra.task import apply_cluster, apply_storage, check_stream_role, gpu_nodes, read_infrastructure
from tasks.keys.task import sync_keys
from tasks.preflight.task import check_feasible, settled
from tasks.records.answers import AnswersReport
from tasks.records.costs import usd_per_million
from tasks.records.environment import Environment
from tasks.records.errors import Inconclusive, RolloutFailed, SlipwayError, ValidationFailed, as_slipway_error
from tasks.records.model import Model
from tasks.records.pairs import Paired
from tasks.records.reports import LoadReport, MeasureFrom, Sweep
from tasks.records.results import Feasibility, HubInspection, Promoted, StagedModel, WarmCache, WeightsChoice
from tasks.records.stop import STOP
from tasks.releases.records import Approval, Deployed, Made, ReleaseRecord
from tasks.releases.task import (
    keep_evidence,
    keep_page,
    keep_wrong_answers,
    last_proven,
    last_swept,
    mark_proven,
    needed_commits,
)
from tasks.rollout.task import prepare_namespace, roll_out, undo
from tasks.rollout.task import preview as preview_of_rollout
from tasks.site import Site
from tasks.staging.task import check_staged, copy_model, find_staged, stage_model, staged_manifest
from tasks.validation.task import ask_beside, draw_page, prove_answers, validate

# the stage a deploy begins with; what is before it must be there already
FirstStage = Literal["infrastructure", "staging", "rollout"]
Approve = Callable[[Feasibility], Approval | None]


def take_through(
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    may_destroy: Sequence[str] = (),
    *,
    proven: StagedModel | None = None,
    first: FirstStage = "infrastructure",
    revalidate: bool = False,
    measure_from: MeasureFrom = "cluster",
    promoted: Promoted | None = None,
    approve: Approve = lambda judged: None,
) -> Deployed:
    """Check that it can succeed, then provision and prove.

    `proven`: copy this inside S3 instead of asking the hub. `first`: begin with this stage, and look whether what is
    before it is there. `approve`: asks a person before the turn is taken.
    """
    check_webhook(environment)
    weights = choose_weights(environment, model, inspection)
    model = settled(model, inspection).with_weights(weights.how)
    judged = check_feasible(
        environment, model, inspection, manifests(environment, model, inspection), weights
    )
    approval = approve(judged)
    with turn(environment), tell_timeline():
        if first == "infrastructure":
            provided = phase(
                "provision",
                lambda graph: provision(graph, model, environment, inspection, may_destroy, proven),
            )
        else:
            provided = phase(
                "find what is there", lambda graph: found(graph, model, environment, inspection, first)
            )
        signing = Signing(judged, promoted, approval, weights)
        record, page = prove(model, inspection, provided, revalidate, measure_from, signing)
        output_cost = cost_of_output(judged.replica_hour, model.scaling.min_replicas, record.report)
        seconds = tell_seconds(model, record)
        return Deployed(record=record, page=page, cost=judged.cost, output_cost=output_cost, seconds=seconds)


def cost_of_output(replica_hour: float | None, replicas: int, report: LoadReport | None) -> str:
    """USD per million output tokens at the proven rate, of the replicas' GPUs alone; empty where nobody can say. Pure."""
    if replica_hour is None or report is None or not report.generates or not report.output_tokens_per_second:
        return ""
    usd = usd_per_million(replica_hour * replicas, report.output_tokens_per_second)
    return f"{usd:.2f} USD per million tokens at the proven {report.output}, GPUs alone ({replicas} x {replica_hour:.3f} an hour)"


def manifests(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """Every document that warming and the rollout will apply, the namespace before what is in it."""
    served = preview_of_rollout(environment, model, inspection)
    documents = [
        *(preview_of_warming(environment, model, inspection) if model.weights == "volume" else ()),
        *served,
        *preview_of_alerts(environment, model, served),
    ]
    return sorted(documents, key=lambda document: document["kind"] != "Namespace")


@dataclass(frozen=True)
class Ready:
    """What is there once a release can be rolled out."""

    site: Site
    cache: WarmCache | StagedModel  # a volume, or what pods stream
    before: tuple[str, LoadReport] | None
    swept: tuple[str, Sweep] | None


@dataclass(frozen=True)
class Signing:
    """What the evidence says beside the release and its load: preflight, where it came from, who let it in, how it loads."""

    judged: Feasibility
    promoted: Promoted | None
    approval: Approval | None
    weights: WeightsChoice


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
    cluster = graph.submit(apply_cluster, environment, result_of(storage), may_destroy, model)
    site = result_of(cluster)
    namespace = graph.submit(prepare_namespace, site)
    addons, nodes = provide_nodes(graph, model, environment, site)
    graph.wait_for(namespace).submit(sync_keys, site)
    needed = result_of(graph.submit(needed_commits, site, model))
    before = graph.submit(last_proven, site, model)
    swept = graph.submit(last_swept, site, model)
    volumes = [addons["aws-ebs-csi-driver"], addons["snapshot-controller"]]
    cache: PrefectFuture[Any]
    if model.weights == "stream":
        cache = checked(graph, site, model, staged)
    else:
        held = graph.submit(check_staged_evidence, site, model, result_of(staged))
        cache = graph.wait_for(namespace, nodes, *volumes).submit(
            warm_cache, site, model, result_of(held), needed
        )
    graph.wait()
    return Ready(cluster.result(), cache.result(), before.result(), swept.result())


def found(
    graph: Graph, model: Model, environment: Environment, inspection: HubInspection, first: FirstStage
) -> Ready:
    """Look that infrastructure and add-ons are there, for a first stage of rollout the weights too; make what is after it.

    Raises NothingDeployed, AddonNotReady, StagingFailed, WarmingFailed with the stage to begin with instead.
    """
    site = read_infrastructure(environment)
    check_stream_role(site, model)
    nodes = graph.submit(gpu_nodes, site, model)
    addons = [graph.wait_for(nodes).submit(find_addon, site, addon) for addon in read_addons(environment)]
    before = graph.submit(last_proven, site, model)
    swept = graph.submit(last_swept, site, model)
    cache: PrefectFuture[Any]
    if first == "rollout":
        graph.submit(sync_keys, site)
        staged = graph.submit(find_staged, site, inspection)
        if model.weights == "stream":
            cache = checked(graph, site, model, staged)
        else:
            cache = graph.submit(find_warm_cache, site, model, result_of(staged))
    else:
        namespace = graph.submit(prepare_namespace, site)
        graph.wait_for(namespace).submit(sync_keys, site)
        staged = graph.submit(stage_model, environment, site.storage, inspection)
        needed = result_of(graph.submit(needed_commits, site, model))
        if model.weights == "stream":
            cache = checked(graph, site, model, staged)
        else:
            held = graph.submit(check_staged_evidence, site, model, result_of(staged))
            cache = graph.wait_for(namespace, nodes, *addons).submit(
                warm_cache, site, model, result_of(held), needed
            )
    graph.wait()
    return Ready(site, cache.result(), before.result(), swept.result())


def checked(graph: Graph, site: Site, model: Model, staged: PrefectFuture[Any]) -> PrefectFuture[StagedModel]:
    """What pods will stream, held to its manifest, and that to the signed evidence of the same commit."""
    whole = graph.submit(check_staged, site, result_of(staged))
    return graph.submit(check_staged_evidence, site, model, result_of(whole))


def provide_nodes(
    graph: Graph, model: Model, environment: Environment, site: Site
) -> tuple[dict[str, PrefectFuture[str]], PrefectFuture[list[str]]]:
    """Submit the add-ons and the GPU nodes; the add-ons by name, and the nodes.

    Karpenter makes nodes for pods that ask for GPUs, and such a pod gets its node where the device plugin offers them: so both
    are installed before nodes are asked for. A node group's nodes are asked for at once.
    """
    by_pods = environment.cluster.gpu.uses_karpenter
    everything = read_addons(environment)
    first = [addon for addon in everything if by_pods and (addon.provisioner or addon.brings_gpus)]
    installed = {addon.name: graph.submit(install_addon, site, addon, addon.brings_gpus) for addon in first}
    nodes = graph.wait_for(*installed.values()).submit(gpu_nodes, site, model)
    addons: dict[str, PrefectFuture[str]] = {}
    for addon in everything:
        needs: list[PrefectFuture[Any]] = [addons[need] for need in addon.needs]
        if addon.gpu_nodes:
            needs.append(nodes)
        if addon in first and not addon.brings_gpus:
            addons[addon.name] = installed[addon.name]
        else:
            # one that is installed already is proven, and left alone
            addons[addon.name] = graph.wait_for(*needs).submit(install_addon, site, addon)
    return addons, nodes


def prove(
    model: Model,
    inspection: HubInspection,
    provided: Phase[Ready],
    revalidate: bool,
    measure_from: MeasureFrom,
    signing: Signing,
) -> tuple[ReleaseRecord, str]:
    """Roll out, load, and write that it is proven, one after the other; the release, and the address of its page.

    A failure puts back what served before.
    """
    ready = provided.result
    with undone_on_failure(ready.site, model):
        with tasks_of_this_phase() as graph:
            rolled = graph.wait_for(*provided.ended).submit(
                roll_out, ready.site, model, ready.cache, inspection, measure_from, beside(ready.site, model)
            )
            graph.wait()
        release = rolled.result()
        proof = phase(
            "prove",
            lambda graph: proved(graph, model, ready, release, revalidate, measure_from),
            after=(rolled.state,),
        )
    marked = phase(
        "record",
        lambda graph: recorded(graph, model, ready, release, proof.result, signing),
        after=proof.ended,
    )
    return marked.result, proof.result.page


def beside(site: Site, model: Model) -> Callable[[Sequence[str], Sequence[str], str], Paired] | None:
    """What asks two releases in pairs in the midst of a rollout; None where the model's file wants none."""
    return partial(ask_beside, site, model) if model.rollout.pairs else None


@dataclass(frozen=True)
class Proof:
    """What was measured of a release, and the address of its page."""

    report: LoadReport
    answers: AnswersReport | None
    page: str


def proved(
    graph: Graph, model: Model, ready: Ready, release: ReleaseRecord, again: bool, measure_from: MeasureFrom
) -> Proof:
    """Load the release, keep its page, ask the golden prompts. Raises ValidationFailed, Inconclusive."""
    site = ready.site
    validated = graph.submit(validate, site, model, release, ready.before, again, measure_from)
    report = result_of(validated)
    page = graph.submit(draw_page, model, release, report, ready.swept)
    kept = graph.submit(keep_page, site, model, release, result_of(page), "load-report")
    graph.wait()
    if validated.result().verdict != "PASS":
        graph.wait_for(kept).submit(keep_evidence, site, model, release, report).result()
        raise verdict_error(model.name, validated.result())
    return Proof(validated.result(), asked(graph, site, model, release, again, measure_from), kept.result())


def recorded(
    graph: Graph, model: Model, ready: Ready, release: ReleaseRecord, proof: Proof, signing: Signing
) -> ReleaseRecord:
    """Write that the release is proven, sign its evidence, give the fast restores back."""
    site = ready.site
    marked = graph.submit(
        mark_proven, site, model, release, proof.report, proof.answers, signing.approval, signing.weights
    )
    listed = graph.submit(staged_manifest, site, release.release)
    made = Made.of(signing.judged, site.storage, site.infrastructure)
    graph.submit(sign_evidence, site, model, result_of(marked), result_of(listed), made, signing.promoted)
    graph.submit(apply_alerts, site, model, result_of(marked))
    if isinstance(ready.cache, WarmCache):
        graph.wait_for(marked).submit(end_fast_restores, site, model, ready.cache)
    graph.wait()
    return marked.result()


def asked(
    graph: Graph, site: Site, model: Model, release: ReleaseRecord, again: bool, measure_from: MeasureFrom
) -> AnswersReport | None:
    """What the release answers to its golden prompts, once its load is over. Raises ValidationFailed where it is wrong."""
    if model.answers is None:
        return None
    answers = graph.submit(prove_answers, site, model, release, again, measure_from).result()
    if answers and answers.verdict != "PASS":
        graph.submit(keep_wrong_answers, site, model, release, answers).result()
        raise answers_error(model.name, answers)
    return answers


def answers_error(model: str, answers: AnswersReport, *, undone: bool = True) -> ValidationFailed:
    """The release answers otherwise than the proven one, or wrongly."""
    then = "; what served before was put back" if undone else ""
    return ValidationFailed(
        f"answers of {model}: {answers.verdict}: {answers.reasons[0]}",
        evidence=answers.reasons[1:],
        next_command=f"look at the answers' table in the run{then}",
    )


@contextmanager
def undone_on_failure(site: Site, model: Model) -> Iterator[None]:
    """Put back what served before when the block, in which nothing is left running, fails or is interrupted.

    Not where the turn was lost, or a worker ends this process: then another run does it (prefect.yaml).
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, Pause) as failure:
        if STOP.reason == "lost":
            raise
        STOP.clear()
        try:
            # Prefect lets no task of a paused run begin
            release = (undo.fn if isinstance(failure, Pause) else undo)(site, model)
            tell_put_back(site.name, model.name, release, failure)
        except SlipwayError as second:
            raise both(failure, second) from failure
        raise


def tell_put_back(environment: str, model: str, release: str | None, failure: BaseException) -> None:
    """Emit that what served before serves again; nothing where nothing did."""
    if release and in_a_run():
        cause = as_slipway_error(failure).cause
        emit_event(**put_back(environment, model, release, cause)._asdict())


def both(failure: BaseException, second: SlipwayError) -> SlipwayError:
    """Why the release failed, and why what served before could not be put back."""
    first = as_slipway_error(failure)
    return RolloutFailed(
        f"{first.cause}; and what served before could not be put back: {second.cause}",
        evidence=[*first.evidence, *second.evidence],
        next_command=second.next_command,
    )


def verdict_error(model: str, report: LoadReport, *, undone: bool = True) -> ValidationFailed:
    """FAIL: the objectives did not hold. INCONCLUSIVE: the generator could not tell, which proves nothing."""
    kind = Inconclusive if report.verdict == "INCONCLUSIVE" else ValidationFailed
    then = "; what served before was put back" if undone else ""
    return kind(
        f"load validation of {model}: {report.verdict}: {report.reasons[0] if report.reasons else ''}",
        evidence=report.reasons[1:],
        next_command=f"look at the load report's table in the run{then}",
    )
