"""Can this run succeed? The rows of the preflight table, judged from facts that were read before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.cloud.reachability import wrong_paths
from tasks.preflight.account_rows import account_rows
from tasks.preflight.adapters import judge_adapters
from tasks.preflight.answers import judge_answers
from tasks.preflight.engine import Engine
from tasks.preflight.facts import NOT_FOR_EKS, Facts
from tasks.preflight.manifests import disagreements
from tasks.preflight.nodes import InstanceType, allocatable, shortages
from tasks.preflight.paths import needed_paths
from tasks.preflight.rights import judge_rights
from tasks.preflight.rows import Status
from tasks.records.backends import why_not
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import PreflightFailed
from tasks.records.model import Model
from tasks.records.node_count import nodes_for, replicas_a_node
from tasks.records.results import HubInspection


@dataclass(frozen=True)
class Check:
    """One row of the table. `next_command` is what a person does about a failure."""

    name: str
    status: Status
    detail: str
    next_command: str = ""


def judge(
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    facts: Facts,
    documents: Sequence[Mapping[str, Any]],
) -> list[Check]:
    """The whole table, in the order things would fail."""
    volume_gib = environment.cluster.gpu.volume_gib
    of_the_model = judge_model(model, inspection, facts.instance, documents, volume_gib)
    others = {
        kind.name: judge_model(model, inspection, kind, documents, volume_gib) for kind in facts.alternatives
    }
    return [
        _account(environment, facts),
        Check("rights", *judge_rights(facts.denied)),
        _buckets(facts),
        *(Check(name, *row) for name, row in facts.existing.items()),
        _kubernetes(environment, facts),
        *(Check(name, *row) for name, row in account_rows(environment, model.engine.image, facts)),
        *of_the_model,
        *([judge_alternatives(of_the_model, others)] if others else []),
        *_gpu_nodes(model, environment, facts),
        *judge_environment(environment, facts, documents),
        *_backend(model, environment),
        _reachability(environment, documents),
    ]


def judge_model(
    model: Model,
    inspection: HubInspection,
    instance: InstanceType,
    documents: Sequence[Mapping[str, Any]],
    volume_gib: int,
) -> list[Check]:
    """The rows that need no AWS: the repo, the model, its engine, against one instance type and its own disk."""
    engine = Engine(model, inspection, instance, documents)
    repo = Check("repo", *engine.repo())
    if not inspection.config and repo.status == "fail":
        return [repo, _room(model, instance, volume_gib)]  # nothing to judge by
    return [
        repo,
        Check("tokenizer", *engine.tokenizer()),
        Check("architecture", *engine.architecture()),
        Check("GPU memory", *engine.memory()),
        Check("context", *engine.context()),
        Check("engine flags", *engine.lint()),
        Check("compute", *engine.compute()),
        Check("ranks", *engine.ranks()),
        *([Check("adapters", *adapters)] if (adapters := judge_adapters(model, inspection)) else []),
        *([Check("answers", *answers)] if (answers := judge_answers(model, project_root())) else []),
        _room(model, instance, volume_gib),
    ]


def judge_alternatives(first: Sequence[Check], others: Mapping[str, Sequence[Check]]) -> Check:
    """Whether the model runs on every type that Karpenter may take. `first`: the rows of instance_type, which say what fails there.

    A type that is too small for the pod is never taken, which is a warning.
    """
    known = {check.name for check in first if check.status == "fail"}
    found = [
        (f"{kind}: {check.name}: {check.detail}", check.name != "node room")
        for kind, checks in others.items()
        for check in checks
        if check.status == "fail" and check.name not in known
    ]
    remedy = "take the type out of cluster.gpu.alternative_types in the environment's file"
    if fatal := [line for line, starts in found if starts]:
        return Check("alternative types", "fail", "; ".join(fatal), remedy)
    if found:
        return Check("alternative types", "warn", "; ".join(line for line, _ in found), remedy)
    return Check("alternative types", "ok", f"the model runs on {', '.join(others)} too")


def judge_environment(
    environment: Environment, facts: Facts, documents: Sequence[Mapping[str, Any]]
) -> list[Check]:
    """The rows about where the GPU nodes will be."""
    return [_zones(environment, facts), _quota(facts), _agreement(environment, documents)]


def _backend(model: Model, environment: Environment) -> list[Check]:
    """Whether the gateway's back end can serve the model; no row where it is NGINX, which serves them all."""
    if environment.gateway.backend == "nginx":
        return []
    if why := why_not(model, environment):
        remedy = f"set gateway.backend: nginx in environments/{environment.name}.yaml"
        return [Check("gateway", "fail", why, remedy)]
    return [Check("gateway", "ok", f"LiteLLM, {environment.gateway.image}")]


def _account(environment: Environment, facts: Facts) -> Check:
    wanted = environment.account
    if wanted and wanted != facts.account:
        return Check(
            "account",
            "fail",
            f"the credentials are of account {facts.account}, {environment.name} belongs to {wanted}",
            "aws sts get-caller-identity; use credentials of that account (aws_profile in the environment's file)",
        )
    return Check("account", "ok", f"{facts.account} in {environment.region}")


def _buckets(facts: Facts) -> Check:
    if facts.foreign_buckets:
        return Check(
            "buckets",
            "fail",
            "; ".join(f"{bucket} is {why}" for bucket, why in facts.foreign_buckets.items()),
            "choose other names of storage in the environment's file: bucket names are global in AWS",
        )
    return Check("buckets", "ok", "the names are free, or this environment's")


def _kubernetes(environment: Environment, facts: Facts) -> Check:
    if environment.existing.cluster:
        return Check("kubernetes", "ok", f"{environment.existing.cluster}'s own")
    version, support = environment.cluster.kubernetes_version, facts.support
    upgrade = "set cluster.kubernetes_version in the environment's file: aws eks describe-cluster-versions"
    if support is None or support.status == "UNSUPPORTED":
        return Check("kubernetes", "fail", f"EKS makes no clusters of Kubernetes {version}", upgrade)
    if support.status == "EXTENDED_SUPPORT":
        detail = f"{version} is in extended support since {support.standard_until}, which EKS charges a higher price an hour for"
        return Check("kubernetes", "warn", detail, upgrade)
    return Check("kubernetes", "ok", f"{version} is in standard support until {support.standard_until}")


def _room(model: Model, instance: InstanceType, volume_gib: int) -> Check:
    short = shortages(model.resources, allocatable(instance, volume_gib))
    return Check(
        "node room",
        "fail" if short else "ok",
        "; ".join(short) or f"{model.resources.cpu} CPU, {model.resources.memory} fit {instance.name}",
        "lower resources in the model's file, or take a larger instance type (disk: cluster.gpu.volume_gib)"
        if short
        else "",
    )


def _gpu_nodes(model: Model, environment: Environment, facts: Facts) -> list[Check]:
    """The nodes that `min_replicas` and `max_replicas` need, against `cluster.gpu.max` and the vCPU quota.

    No row where a node has too few GPUs for a replica: "node room" says that.
    """
    scaling, gpu, instance = model.scaling, environment.cluster.gpu, facts.instance
    if not replicas_a_node(model.resources.gpu, instance.gpus):
        return []
    fewest, most = (
        nodes_for(replicas, model.resources.gpu, instance.gpus)
        for replicas in (scaling.min_replicas, scaling.max_replicas)
    )
    detail = f"{fewest} to {most} of {gpu.max}" if most > fewest else f"{fewest} of {gpu.max}"
    detail += f" {instance.name} for {scaling.min_replicas} to {scaling.max_replicas} replicas"
    file = f"environments/{environment.name}.yaml"
    if most > gpu.max:
        remedy = f"raise cluster.gpu.max in {file}, or lower scaling.max_replicas in models/{model.name}.yaml"
        return [Check("GPU nodes", "fail", f"{detail}: replicas without a node stay Pending", remedy)]
    if facts.quota and facts.quota.enough and (allowed := facts.quota.nodes(instance.vcpus)) < most:
        remedy = f"request {most * instance.vcpus} vCPUs of {facts.quota.code}, or lower scaling.max_replicas"
        return [Check("GPU nodes", "warn", f"{detail}; the vCPU quota allows {allowed}", remedy)]
    return [Check("GPU nodes", "ok", detail)]


def _zones(environment: Environment, facts: Facts) -> Check:
    refused = [
        f"{zone} ({facts.zone_ids[zone]})"
        for zone in (*environment.cluster.zones, facts.zone)
        if facts.zone_ids.get(zone) in NOT_FOR_EKS
    ]
    if refused:
        usable = sorted(set(facts.zones) - {zone.partition(" ")[0] for zone in refused})
        return Check(
            "zones",
            "fail",
            f"EKS makes no control plane in {' or '.join(dict.fromkeys(refused))}",
            f"set cluster.zones and cluster.gpu.zone in the environment's file to two of {', '.join(usable) or 'the others'}",
        )
    if not facts.zones:
        return Check(
            "zones",
            "fail",
            f"{facts.instance.name} is not offered in {environment.region}",
            "take another instance type or region",
        )
    if facts.zone not in facts.zones:
        return Check(
            "zones",
            "fail",
            f"{facts.instance.name} is not offered in {facts.zone}, only in {', '.join(facts.zones)}",
            "set cluster.zones and cluster.gpu.zone in the environment's file",
        )
    lacking = [zone for zone in environment.cluster.gpu.other_zones if zone not in facts.zones]
    if lacking:
        return Check(
            "zones",
            "warn",
            f"{facts.instance.name} is offered in {facts.zone}, not in {', '.join(lacking)} of cluster.gpu.other_zones",
            f"take other zones of {', '.join(facts.zones)}, or alternative_types that are offered there",
        )
    offered = (facts.zone, *environment.cluster.gpu.other_zones)
    return Check("zones", "ok", f"{facts.instance.name} is offered in {', '.join(offered)}")


def _quota(facts: Facts) -> Check:
    need = facts.quota
    if need is None:
        return Check("vCPU quota", "warn", f"no GPU quota is known for {facts.instance.name}")
    request = (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {need.code} "
        f"--desired-value {need.used + need.needed:.0f}"
    )
    return Check("vCPU quota", "ok" if need.enough else "fail", str(need), "" if need.enough else request)


def _agreement(environment: Environment, documents: Sequence[Mapping[str, Any]]) -> Check:
    found = disagreements(documents, environment)
    gpu = environment.cluster.gpu
    return Check(
        "placement",
        "fail" if found else "ok",
        "; ".join(found)
        or f"{gpu.label_key}={gpu.label_value} and {gpu.taint.key}={gpu.taint.value}:{gpu.taint.effect} agree",
        "check k8s/serving/deployment.yaml" if found else "",
    )


def _reachability(environment: Environment, documents: Sequence[Mapping[str, Any]]) -> Check:
    policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
    paths = needed_paths(documents, environment)
    found = wrong_paths(policies, paths)
    shut = sum(not path.must_be_open for path in paths)
    return Check(
        "reachability",
        "fail" if found else "ok",
        "; ".join(found)
        or f"{len(policies)} policies: {len(paths) - shut} paths open, {shut} shut, as they must be",
        "check the networkpolicy.yaml files of k8s/" if found else "",
    )


def table(checks: Sequence[Check]) -> list[dict[str, str]]:
    """Rows for a table artifact."""
    return [{"check": c.name, "status": c.status, "detail": c.detail, "next": c.next_command} for c in checks]


def require(checks: Sequence[Check]) -> None:
    """Raises PreflightFailed with every failed row."""
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        raise PreflightFailed(
            f"this cannot succeed: {failed[0].name}: {failed[0].detail}",
            evidence=[f"{check.name}: {check.detail}" for check in failed[1:]],
            next_command=failed[0].next_command or None,
        )
