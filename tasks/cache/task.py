"""Warming as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import task

from tasks.cache import manifests, snapshots
from tasks.cache.context import Context
from tasks.cache.fast_restore import FastRestore
from tasks.cache.volume import volume_for
from tasks.cache.warming import limits, warm
from tasks.cloud import objects
from tasks.cloud.ebs import Ebs, EbsPrices
from tasks.cloud.waiting import until_none
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.model import Model
from tasks.records.names import staged_prefix
from tasks.records.results import HubInspection, StagedModel, WarmCache
from tasks.site import Site
from tasks.task import SETTINGS, RunReporter


@task(task_run_name="warm the cache of {model.name}", **SETTINGS)
def warm_cache(site: Site, model: Model, staged: StagedModel, needed: Sequence[str] = ()) -> WarmCache:
    """Fill the model's claim with the staged weights, verified, and snapshot it where replicas need clones.

    `needed`: commits of releases that may serve again. A claim that is warm already is left alone.
    """
    return warm(
        Context(
            cluster=site.cluster(),
            environment=site.environment,
            model=model,
            staged=staged,
            ebs=Ebs.of(site.aws(), site.environment.cluster.gpu.instance_type),
            needed=frozenset(needed),
            reporter=RunReporter("warming"),
        )
    )


@task(task_run_name="fast restores of {model.name} end", **SETTINGS)
def end_fast_restores(site: Site, model: Model, cache: WarmCache) -> None:
    """Disable fast restore on the model's other snapshots once `cache` serves: it would only cost. A rollback to one of
    them starts lazily."""
    fast = FastRestore(Ebs(site.aws(), EbsPrices(), None), RunReporter("warming"))
    snapshots.end_fast_restores(site.cluster(), site.namespace, model, fast, keep=cache.snapshot)


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """Complete what warming applies for a model that was never here: account, policy, program, class, claim and job.

    Without AWS: the volume's speed is not limited to what the instance type reads, and no retained volume is looked for.
    """
    hub = inspection.model
    staged = StagedModel(
        bucket=environment.storage.model_bucket,
        prefix=staged_prefix(hub.repo, hub.commit),
        repo=hub.repo,
        commit=hub.commit,
        total_bytes=hub.total_bytes,
        manifest_sha256="",  # staging writes it
    )
    volume = volume_for(hub.total_bytes, model.cache, budget_mib_s=environment.deadlines.cold_read_mib_s)
    seconds = sum(limits(staged, volume.throughput, environment).values())
    job = manifests.job(environment, model, staged, needed=(), node=None, seconds=seconds)
    claim = manifests.empty_claim(environment, model, volume)
    return [*manifests.for_namespace(environment), *claim, job]


@task(task_run_name="claims of {site.namespace} go", **SETTINGS)
def remove_claims(site: Site) -> list[str]:
    """Delete the claims and wait until they are gone; their volumes are retained. The claims' names."""
    cluster, namespace = site.cluster(), site.namespace
    kind = ("v1", "PersistentVolumeClaim")
    names = [objects.name(claim) for claim in cluster.list(*kind, namespace)]
    for name in names:
        cluster.delete(*kind, name, namespace)

    def late(left: Sequence[dict[str, Any]]) -> ClusterError:
        return ClusterError(
            "cache claims did not go away",
            evidence=[objects.name(claim) for claim in left],
            next_command=f"kubectl -n {namespace} describe pvc",
        )

    until_none(lambda: cluster.list(*kind, namespace), site.environment.deadlines.drain, late)
    return names
