"""Roll out, go back, confirm and remove what is served, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.cloud import inside, interruptions, objects
from tasks.cloud.image_pull import more_for_pull
from tasks.records import names
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.records.reports import MeasureFrom
from tasks.records.results import HubInspection, StagedModel, WarmCache
from tasks.releases.records import ReleaseRecord, Start
from tasks.releases.task import ledger_of
from tasks.rollout import (
    compile_cache,
    confirmation,
    gateway,
    holder,
    namespace,
    procedure,
    removal,
    restore,
    scaler,
    start_report,
    troubles,
)
from tasks.rollout.context import Beside, RolloutContext
from tasks.rollout.manifests import release_of, serving, stamped
from tasks.rollout.node_refusals import NodeGroupHealth, PoolRefusals
from tasks.rollout.pod_phases import release_pods
from tasks.rollout.start_phases import streamed_rate, told_rate
from tasks.rollout.weights import Weights
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, in_a_run, show_table, task


def context_of(
    site: Site, model: Model, measure_from: MeasureFrom = "cluster", beside: Beside | None = None
) -> RolloutContext:
    """What a rollout of the model at this site works with."""
    return RolloutContext(
        root=project_root(),
        cluster=site.cluster(),
        environment=site.environment,
        ledger=ledger_of(site, model),
        reporter=RunReporter("rollout"),
        show=show_table,
        group_issues=PoolRefusals(site.cluster(), site.namespace)
        if site.environment.cluster.gpu.uses_karpenter
        else NodeGroupHealth(site.aws(), site.infrastructure),
        measure_from=measure_from,
        beside=beside,
        more_for_pull=more_for_pull(model.engine.image, site.environment),
    )


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """The documents a rollout will apply in the namespace: policies, serving, gateway. Raises InputError.

    Without the cluster: its gateway has this model's route only, and a snapshot's name is not known.
    """
    root = project_root()
    weights = Weights.expected(model, inspection, environment.storage.model_bucket)
    served = serving(root, model, environment, weights)
    route = gateway.route(root, model, environment)
    return [
        *namespace.documents(root, environment),
        *stamped(served, release_of(model, environment, weights.commit, served)),
        route,
        *holder.documents(root, environment, holder.held_models(route["data"])),
        *gateway.documents(root, environment, route["data"]),
        inside.policy(environment),
        inside.preview(environment, model.name),
    ]


@task(task_run_name="namespace {site.namespace}", **SETTINGS)
def prepare_namespace(site: Site) -> str:
    """Apply the namespace and its default-deny policy; the namespace's name."""
    namespace.apply(project_root(), site.cluster(), site.environment)
    return site.namespace


@task(task_run_name="roll out {model.name}", **SETTINGS)
def roll_out(
    site: Site,
    model: Model,
    cache: WarmCache | StagedModel,
    inspection: HubInspection,
    measure_from: MeasureFrom = "cluster",
    beside: Beside | None = None,
) -> ReleaseRecord:
    """Apply the release and pass the readiness gate; its record.

    `measure_from`: where the gateway is asked from. `beside`: asks both releases in pairs, where both are up.
    """
    weights = Weights.of(cache, inspection.weight_bytes)
    context = context_of(site, model, measure_from, beside)
    if why := compile_cache.why_off(model, weights):
        context.reporter.say(f"no compile cache: {why}")
    record = procedure.roll_out(context, model, weights)
    if weights.address:
        _tell_rate(context, record, weights)
    with restore.keeping(context, record.release.id):
        scaler.wait_until_scaling(context, model)
    return record


def _tell_rate(context: RolloutContext, record: ReleaseRecord, weights: Weights) -> None:
    """Report the measured rate of the last start beside the one its budget allows for."""
    start = record.last_start("rollout")
    if start and (rate := streamed_rate(start.phases, weights.size)):
        near, line = told_rate(rate, context.environment.deadlines.stream_mib_s)
        (context.reporter.warn if near else context.reporter.say)(line)


@task(task_run_name="put back what served before {model.name}", **SETTINGS)
def put_back(site: Site, model: Model, wanted: str | None = None) -> str | None:
    """Put back the release that served before, or `wanted`; the one that serves then, None where none does."""
    return restore.restore(context_of(site, model), model, wanted).target


@task(task_run_name="undo the rollout of {model.name}", **SETTINGS)
def undo(site: Site, model: Model) -> str | None:
    """Put back what served before a rollout that failed; None where none had begun."""
    done = restore.undo(context_of(site, model), model)
    return done.target if done else None


@task(task_run_name="replicas of {model.name}", **SETTINGS)
def ready_replicas(site: Site, model: Model) -> int:
    """Count the ready replicas. Raises RolloutFailed where there is none."""
    deployment = site.cluster().get("apps/v1", "Deployment", names.workload(model), site.namespace)
    ready = int(objects.status(deployment).get("readyReplicas") or 0)
    if not ready:
        raise RolloutFailed(
            f"no replica of {model.name} is ready in {site.name}",
            next_command=f"slipway wake {model.name} -e {site.name}",
        )
    return ready


@task(task_run_name="troubles of {site.name}", **SETTINGS)
def tell_troubles(site: Site, models: Sequence[Model]) -> list[str]:
    """What is wrong with the capacity of `models`, which serve; told one by one and as a table. Their causes."""
    reporter = RunReporter("status")
    found = troubles.find(
        site.cluster(),
        site.environment,
        models,
        lambda: interruptions.cut(site.aws(), site.environment.cluster.name),
    )
    for each in found:
        reporter.warn(f"{each.subject}: {each.cause}")
        for line in each.evidence[:4]:
            reporter.warn(f"  {line}")
        if each.next_command:
            reporter.warn(f"  next: {each.next_command}")
    if in_a_run():
        title = f"What is wrong with capacity in {site.name}"
        show_table(f"troubles-{site.name}", [each.row() for each in found], title, "nothing is wrong")
    return [each.cause for each in found]


@task(task_run_name="starts of {model.name}", **SETTINGS)
def keep_starts(site: Site, model: Model) -> list[Start]:
    """Keep in the ledger, and tell, the starts that no flow waited for: a scaler's, or a request's. Those that are new."""
    context = context_of(site, model)
    known = context.ledger.serving()
    if known.serving is None or known.rolling:
        return []
    listed = context.cluster.list("v1", "Pod", site.namespace, label_selector=names.serving_selector(model))
    pods = [pod for pod in release_pods(listed, known.serving) if objects.is_ready(pod)]
    return start_report.keep_unknown(context, known.serving, pods, model.scaling.start_budget)


@task(task_run_name="{model.name} answers", **SETTINGS)
def confirm(site: Site, model: Model, cause: str, measure_from: MeasureFrom = "cluster") -> str:
    """Wait for the replicas and one completion through the gateway; its text. `cause`: what brought them back."""
    return confirmation.confirm(context_of(site, model, measure_from), model, cause)


@task(task_run_name="nothing served in {site.namespace}", **SETTINGS)
def remove_serving(site: Site) -> list[str]:
    """Remove every workload and the gateway's load balancer; what was removed."""
    return removal.remove(site.cluster(), site.environment, RunReporter("teardown"))
