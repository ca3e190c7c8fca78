"""Roll out, go back, confirm and remove what is served, as Prefect tasks."""

from __future__ import annotations

from typing import Any

from prefect import task

from tasks.cloud import objects
from tasks.records import names
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.records.results import HubInspection, WarmCache
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.rollout import confirmation, gateway, namespace, procedure, removal, restore
from tasks.rollout.context import RolloutContext
from tasks.rollout.manifests import serving
from tasks.rollout.nodegroup import NodeGroupHealth
from tasks.rollout.weights import Weights
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table


def context_of(site: Site, model: Model) -> RolloutContext:
    """What a rollout of the model at this site works with."""
    return RolloutContext(
        root=project_root(),
        cluster=site.cluster(),
        environment=site.environment,
        ledger=ledger_of(site, model),
        reporter=RunReporter("rollout"),
        show=show_table,
        group_issues=NodeGroupHealth(site.aws(), site.infrastructure),
    )


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """The documents a rollout will apply in the namespace: policies, gateway, serving. Raises InputError."""
    root = project_root()
    return [
        *namespace.documents(root, environment),
        *gateway.documents(root, environment, {}),
        *serving(root, model, environment, Weights.expected(model, inspection)),
    ]


@task(task_run_name="namespace {site.namespace}", **SETTINGS)
def prepare_namespace(site: Site) -> str:
    """Apply the namespace and its default-deny policy; the namespace's name."""
    namespace.apply(project_root(), site.cluster(), site.environment)
    return site.namespace


@task(task_run_name="roll out {model.name}", **SETTINGS)
def roll_out(site: Site, model: Model, cache: WarmCache, inspection: HubInspection) -> ReleaseRecord:
    """Apply the release and pass the readiness gate; its record."""
    weights = Weights.of(cache, inspection.weight_bytes)
    return procedure.roll_out(context_of(site, model), model, weights)


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


@task(task_run_name="{model.name} answers", **SETTINGS)
def confirm(site: Site, model: Model, cause: str) -> str:
    """Wait for the replicas and one completion through the gateway; its text. `cause`: what brought them back."""
    return confirmation.confirm(context_of(site, model), model, cause)


@task(task_run_name="nothing served in {site.namespace}", **SETTINGS)
def remove_serving(site: Site) -> list[str]:
    """Remove every workload and the gateway's load balancer; what was removed."""
    return removal.remove(site.cluster(), site.environment, RunReporter("teardown"))
