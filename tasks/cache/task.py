"""Warming as Prefect tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from prefect import task

from tasks.cache import manifests, snapshots
from tasks.cache.warming import warm
from tasks.cloud.ebs import Ebs, EbsPrices
from tasks.cloud.interruption import nap
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.results import HubInspection, StagedModel, WarmCache
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter


@task(task_run_name="warm the cache of {model.name}", **SETTINGS)
def warm_cache(site: Site, model: Model, staged: StagedModel, needed: Sequence[str] = ()) -> WarmCache:
    """The model's claim holds the staged weights, verified; at once when it does already. And a snapshot of it, where
    replicas need clones. `needed`: commits of releases that may serve again."""
    environment = site.environment
    return warm(
        site.cluster(),
        staged,
        model,
        environment,
        reporter=RunReporter("warming"),
        region=environment.region,
        ebs=Ebs.of(site.aws(), environment.cluster.gpu.instance_type),
        needed=needed,
        sleep=nap,
    )


@task(task_run_name="fast restores of {model.name} end", **SETTINGS)
def end_fast_restores(site: Site, model: Model, cache: WarmCache) -> None:
    """Once `cache` serves: fast restore of the model's other snapshots would only cost. What goes back to one of them
    starts lazily."""
    snapshots.end_fast_restores(
        site.cluster(),
        model,
        site.namespace,
        Ebs(site.aws(), EbsPrices(), None),
        RunReporter("warming"),
        keep=cache.snapshot,
    )


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """What warming will apply in the namespace, for preflight: its account, its policy, the job."""
    expected = StagedModel(
        bucket=environment.storage.model_bucket,
        prefix=f"{inspection.model.repo}/{inspection.model.commit}",
        repo=inspection.model.repo,
        commit=inspection.model.commit,
        total_bytes=inspection.model.total_bytes,
        manifest_sha256="",
    )
    region = environment.region
    warming = manifests.job(expected, model, environment, region=region, needed=(), node=None, seconds=1.0)
    return [*manifests.for_namespace(environment), warming]


@task(task_run_name="claims of {site.namespace} go", **SETTINGS)
def remove_claims(site: Site) -> list[str]:
    """Delete the claims and wait until they are gone; their volumes stay, as their class says. The claims' names."""
    cluster, namespace = site.cluster(), site.namespace
    kind = ("v1", "PersistentVolumeClaim")
    names = [claim["metadata"]["name"] for claim in cluster.list(*kind, namespace)]
    for name in names:
        cluster.delete(*kind, name, namespace)
    deadline = time.monotonic() + site.environment.deadlines.drain
    while left := cluster.list(*kind, namespace):
        if time.monotonic() >= deadline:
            raise ClusterError(
                "cache claims did not go away",
                evidence=[claim["metadata"]["name"] for claim in left],
                next_command=f"kubectl -n {namespace} describe pvc",
            )
        nap(0.25)
    return names
