"""Warming as Prefect tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.cache import choice, leaving, manifests, snapshots
from tasks.cache.context import Context
from tasks.cache.fast_restore import FastRestore
from tasks.cache.volume import GIB, volume_for
from tasks.cache.warming import find, limits, warm
from tasks.cloud.aws import Aws
from tasks.cloud.ebs import Ebs, EbsPrices, ebs_prices
from tasks.cloud.image_pull import more_for_pull
from tasks.cloud.instance_types import gpus_of
from tasks.cloud.prices import instance_price
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.names import staged_prefix
from tasks.records.results import HubInspection, HubModel, StagedModel, WarmCache, WeightsChoice
from tasks.site import Site, aws_of
from tasks.task import SETTINGS, RunReporter, task


@task(task_run_name="warm the cache of {model.name}", **SETTINGS)
def warm_cache(site: Site, model: Model, staged: StagedModel, needed: Sequence[str] = ()) -> WarmCache:
    """Fill the model's claim with the staged weights, verified, and snapshot it where replicas need clones.

    `needed`: commits of releases that may serve again. A claim that is warm already is left alone.
    """
    return warm(_context(site, model, staged, needed))


def _context(site: Site, model: Model, staged: StagedModel, needed: Sequence[str]) -> Context:
    return Context(
        cluster=site.cluster(),
        environment=site.environment,
        model=model,
        staged=staged,
        ebs=Ebs.of(site.aws(), site.environment.cluster.gpu.instance_type),
        needed=frozenset(needed),
        reporter=RunReporter("warming"),
        more_for_pull=more_for_pull(model.engine.image, site.environment),
    )


@task(task_run_name="find the cache of {model.name}", **SETTINGS)
def find_warm_cache(site: Site, model: Model, staged: StagedModel) -> WarmCache:
    """Find the model's claim with the staged weights on it, and copy nothing. Raises WarmingFailed."""
    return find(_context(site, model, staged, needed=()))


@task(task_run_name="fast restores of {model.name} end", **SETTINGS)
def end_fast_restores(site: Site, model: Model, cache: WarmCache) -> None:
    """Disable fast restore on the model's other snapshots once `cache` serves: it would only cost. A rollback to one of
    them starts lazily."""
    fast = FastRestore(Ebs(site.aws(), EbsPrices(), None), RunReporter("warming"))
    snapshots.end_fast_restores(site.cluster(), site.namespace, model, fast, keep=cache.snapshot)


@task(task_run_name="weights of {model.name}: volume or stream", **SETTINGS)
def choose_weights(environment: Environment, model: Model, inspection: HubInspection) -> WeightsChoice:
    """How the weights come to the replicas: as the model's file says, or for `auto` as `choice.choose` does, at today's prices."""
    if model.weights != "auto":
        return WeightsChoice(how=model.weights)
    gpu, waits = environment.cluster.gpu, environment.deadlines
    aws = aws_of(environment)
    chosen = choice.choose(
        model,
        choice.Facts(
            size=inspection.weight_bytes,
            volume_mib_s=waits.cold_read_mib_s,
            stream_mib_s=waits.stream_mib_s,
            spot=gpu.capacity_type != "ON_DEMAND",
            volume_month=_month(environment, model, inspection, ebs_prices(aws)),
            replica_hour=_replica_hour(environment, model, aws),
        ),
    )
    RunReporter("preflight").say(f"weights: {chosen}")
    return chosen


def _month(
    environment: Environment, model: Model, inspection: HubInspection, prices: EbsPrices
) -> float | None:
    """USD a month of the model's volume, and of its snapshot where replicas would clone one."""
    size = inspection.model.total_bytes
    volume = volume_for(size, model.cache, budget_mib_s=environment.deadlines.cold_read_mib_s)
    parts = [prices.volume(volume.size_gib, volume.iops, volume.throughput)]
    if model.with_weights("volume").wants_snapshot:
        parts.append(prices.snapshot(size / GIB))
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _replica_hour(environment: Environment, model: Model, aws: Aws) -> float | None:
    """USD an hour of one replica's share of its node, on demand; None where the price list does not say."""
    kind = environment.cluster.gpu.instance_type
    gpus = gpus_of(aws, kind)
    node = instance_price(aws, kind)
    return None if node is None or not gpus else node * model.resources.gpu / gpus


def preview(environment: Environment, model: Model, inspection: HubInspection) -> list[dict[str, Any]]:
    """Complete what warming applies for a model that was never here: account, policy, program, class, claim and job.

    Without AWS: the volume's speed is not limited to what the instance type reads, and no retained volume is looked for.
    """
    adapters = tuple(_to_be_staged(environment, adapter.model) for adapter in inspection.adapters)
    staged = _to_be_staged(environment, inspection.model).model_copy(update={"adapters": adapters})
    volume = volume_for(staged.all_bytes, model.cache, budget_mib_s=environment.deadlines.cold_read_mib_s)
    seconds = sum(limits(staged, volume.throughput, environment).values())
    job = manifests.job(environment, model, staged, needed=(), node=None, seconds=seconds)
    claim = manifests.empty_claim(environment, model, volume)
    return [*manifests.for_namespace(environment), *claim, job]


def _to_be_staged(environment: Environment, hub: HubModel) -> StagedModel:
    return StagedModel(
        bucket=environment.storage.model_bucket,
        prefix=staged_prefix(hub.repo, hub.commit),
        repo=hub.repo,
        commit=hub.commit,
        total_bytes=hub.total_bytes,
        # staging writes the one and asks for the other
        manifest_sha256="",
        account=environment.account or "",
    )


@task(task_run_name="{site.name} leaves {site.infrastructure.cluster_name}", **SETTINGS)
def leave_cluster(site: Site) -> list[str]:
    """Remove this environment's namespace and classes from a cluster of somebody else's; what was removed."""
    return leaving.leave(site.cluster(), site.environment, RunReporter("teardown"))


@task(task_run_name="claims of {site.namespace} go", **SETTINGS)
def remove_claims(site: Site) -> list[str]:
    """Delete the claims and wait for their volumes; those of warmed caches are retained. The claims' names."""
    return leaving.remove_claims(site.cluster(), site.environment, RunReporter("teardown"))
