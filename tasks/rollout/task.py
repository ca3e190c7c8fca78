"""Rollout, gate and return as Prefect tasks."""

from __future__ import annotations

from typing import Any

from prefect import task

from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.records.results import HubInspection, WarmCache
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.rollout import gate, gateway, removal, restore, starts
from tasks.rollout import rollout as steps
from tasks.rollout.manifests import KEY_SECRET, RELEASE_ANNOTATION, serving, workload_name
from tasks.rollout.nodegroup import NodeGroupHealth
from tasks.rollout.place import Place
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter, show_table


def place_of(site: Site, model: Model) -> Place:
    return Place(
        root=project_root(),
        cluster=site.cluster(),
        environment=site.environment,
        ledger=ledger_of(site, model),
        reporter=RunReporter("rollout"),
        show=show_table,
        group=NodeGroupHealth(site.aws(), site.infrastructure),
    )


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """What the rollout will apply in the namespace, for preflight: policies, gateway, serving. Raises InputError."""
    expected = WarmCache(
        namespace=environment.namespace,
        claim=f"model-cache-{model.name}",
        path=f"{inspection.model.repo.replace('/', '--')}/{inspection.model.commit}",
        volume_id="",
        zone="",
        commit=inspection.model.commit,
        bytes_copied=0,
        snapshot="taken-by-warming" if model.wants_snapshot else None,
        size="1Gi",
    )
    root = project_root()
    return [
        *steps.namespace_documents(root, environment),
        *gateway.documents(root, environment, {}),
        *serving(
            root,
            model,
            environment,
            cache=expected,
            strategy="RollingUpdate",
            weight_bytes=inspection.weight_bytes,
        ),
    ]


@task(task_run_name="namespace {site.namespace}", **SETTINGS)
def prepare_namespace(site: Site) -> str:
    """The namespace and its default-deny policy; its name."""
    steps.apply_namespace(project_root(), site.cluster(), site.environment)
    return site.namespace


@task(task_run_name="roll out {model.name}", **SETTINGS)
def roll_out(site: Site, model: Model, cache: WarmCache, inspection: HubInspection) -> ReleaseRecord:
    """Apply the release and pass the readiness gate."""
    place = place_of(site, model)
    return steps.roll_out(place, model, cache, inspection.weight_bytes)


@task(task_run_name="put back what served before {model.name}", **SETTINGS)
def put_back(site: Site, model: Model, wanted: str | None = None) -> str | None:
    """The release that serves afterwards, None where nothing did."""
    return restore.restore(place_of(site, model), model, wanted).target


@task(task_run_name="undo the rollout of {model.name}", **SETTINGS)
def undo(site: Site, model: Model) -> str | None:
    """Put back what served before a rollout that failed; nothing where none had begun."""
    done = restore.undo(place_of(site, model), model)
    return done.target if done else None


@task(task_run_name="replicas of {model.name}", **SETTINGS)
def ready_replicas(site: Site, model: Model) -> int:
    """How many serve now. Raises RolloutFailed where none does."""
    found = site.cluster().get("apps/v1", "Deployment", f"vllm-{model.name}", site.namespace)
    ready = int(((found or {}).get("status") or {}).get("readyReplicas") or 0)
    if not ready:
        raise RolloutFailed(
            f"no replica of {model.name} is ready in {site.name}",
            next_command=f"slipway wake {model.name} -e {site.name}",
        )
    return ready


@task(task_run_name="{model.name} answers", **SETTINGS)
def confirm(site: Site, model: Model, cause: str) -> str:
    """One completion through the gateway, waited for as long as a start may take; its text.

    The start is told beside the last one and kept with the release; `cause` says what it was for.
    """
    place = place_of(site, model)
    workload = workload_name(model)
    found = place.workload(workload) or {}
    release = (found.get("metadata", {}).get("annotations") or {}).get(RELEASE_ANNOTATION, "")
    seconds = float((found.get("spec") or {}).get("progressDeadlineSeconds", 600))
    deadline = place.clock() + seconds
    pods = place.wait_for_pods(workload, release, seconds)
    endpoint = gateway.endpoint_of(place.cluster, site.environment, model, deadline=deadline)
    key = gateway.read_key(place.cluster, site.namespace, KEY_SECRET)
    answer = gate.check_endpoint(
        endpoint.base_url, key, model.name, patience=site.environment.deadlines.gateway
    )
    place.reporter.say(f"a completion through the gateway came back: {answer!r:.60}")
    starts.remember(place, release, pods, cause)
    return answer


@task(task_run_name="nothing served in {site.namespace}", **SETTINGS)
def remove_serving(site: Site) -> list[str]:
    """Every workload and the gateway's load balancer gone; what was removed."""
    return removal.remove(site.cluster(), site.environment, RunReporter("teardown"))
