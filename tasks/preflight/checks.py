"""Can this run succeed? Facts are read first, then judged in a table; nothing is changed by looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.reachability import wrong_paths
from tasks.preflight.engine import judge_compute, judge_flags, judge_ranks
from tasks.preflight.manifests import disagreements
from tasks.preflight.memory import architecture, attention_heads, fit
from tasks.preflight.nodes import MIB, InstanceType, allocatable, shortages
from tasks.preflight.paths import needed_paths
from tasks.preflight.quota import QuotaNeed, quota_code
from tasks.records.environment import Environment
from tasks.records.errors import PreflightFailed
from tasks.records.model import Model
from tasks.records.quantities import human_bytes
from tasks.records.results import HubInspection

Status = Literal["ok", "fail", "warn"]


@dataclass(frozen=True)
class Check:
    """One row of the table. `next_command` is what a person does about a failure."""

    name: str
    status: Status
    detail: str
    next_command: str = ""


@dataclass(frozen=True)
class Facts:
    """What AWS says. `zones` offer the instance type, `zone` is where its nodes will be; `quota` is None where no
    quota covers it."""

    account: str
    instance: InstanceType
    zones: tuple[str, ...]
    zone: str
    quota: QuotaNeed | None


def observe(environment: Environment, aws: Aws) -> Facts:
    """Read account, instance type, zones and quota. Raises AccessDenied, CloudError."""
    gpu = environment.cluster.gpu
    with aws_errors("asking AWS who we are"):
        account = str(aws.client("sts").get_caller_identity()["Account"])
    instance = instance_type(aws, gpu.instance_type)
    with aws_errors("asking where the instance type is offered"):
        offered = aws.client("ec2").describe_instance_type_offerings(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [gpu.instance_type]}],
        )
    zones = tuple(sorted(offer["Location"] for offer in offered["InstanceTypeOfferings"]))
    return Facts(account, instance, zones, gpu_zone(environment, aws), quota_need(environment, aws, instance))


def gpu_zone(environment: Environment, aws: Aws) -> str:
    """The zone the GPU nodes will be in: as terraform chooses it (network.tf), so that it can be checked before."""
    cluster = environment.cluster
    if cluster.gpu.zone or cluster.zones:
        return cluster.gpu.zone or cluster.zones[0]
    with aws_errors("listing the availability zones"):
        found = aws.client("ec2").describe_availability_zones(
            Filters=[
                {"Name": "state", "Values": ["available"]},
                {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
            ]
        )["AvailabilityZones"]
    return str(min(zone["ZoneName"] for zone in found))


def instance_type(aws: Aws, name: str) -> InstanceType:
    """As EC2 describes it. Raises PreflightFailed for a type that does not exist in the region."""
    with aws_errors("describing the GPU instance type"):
        try:
            found = aws.client("ec2").describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        except ClientError as error:
            if error_code(error) == "InvalidInstanceType":
                raise PreflightFailed(
                    f"there is no instance type {name} in {aws.region}",
                    next_command="set cluster.gpu.instance_type in the environment's file",
                ) from error
            raise
    gpus = (found.get("GpuInfo") or {}).get("Gpus") or []
    network = found["NetworkInfo"]
    return InstanceType(
        name=name,
        vcpus=int(found["VCpuInfo"]["DefaultVCpus"]),
        memory=int(found["MemoryInfo"]["SizeInMiB"]) * MIB,
        gpus=sum(int(gpu["Count"]) for gpu in gpus),
        gpu_memory=int(gpus[0]["MemoryInfo"]["SizeInMiB"]) * MIB if gpus else 0,
        gpu_name=f"{gpus[0].get('Manufacturer', '')} {gpus[0].get('Name', '')}".strip() if gpus else "no GPU",
        # the VPC CNI's pods: one address of each interface is the interface's own, two pods use the host's
        max_pods=network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) + 2,
    )


def quota_need(environment: Environment, aws: Aws, instance: InstanceType) -> QuotaNeed | None:
    """The vCPU quota the GPU nodes fall under, against what runs already."""
    gpu = environment.cluster.gpu
    code = quota_code(instance.name, gpu.capacity_type)
    if code is None:
        return None
    with aws_errors("reading the GPU vCPU quota"):
        answer = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
        limit = float(answer["Quota"]["Value"])
        pages = (
            aws.client("ec2")
            .get_paginator("describe_instances")
            .paginate(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
        )
        running = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    counted = [i for i in running if quota_code(i["InstanceType"], _capacity(i)) == code]
    ours = [i for i in counted if _tag(i, "eks:cluster-name") == environment.cluster.name]
    wanted = max(1, gpu.desired) * instance.vcpus
    return QuotaNeed(
        code=code,
        limit=limit,
        used=sum(_vcpus(i) for i in counted),
        needed=max(0.0, wanted - sum(_vcpus(i) for i in ours)),
    )


def _capacity(instance: Mapping[str, Any]) -> Literal["ON_DEMAND", "SPOT"]:
    return "SPOT" if instance.get("InstanceLifecycle") == "spot" else "ON_DEMAND"


def _vcpus(instance: Mapping[str, Any]) -> float:
    options = instance.get("CpuOptions") or {}
    return float(options.get("CoreCount", 0) * options.get("ThreadsPerCore", 0))


def _tag(instance: Mapping[str, Any], key: str) -> str | None:
    return next((tag["Value"] for tag in instance.get("Tags") or () if tag["Key"] == key), None)


def judge(
    model: Model,
    environment: Environment,
    inspection: HubInspection,
    facts: Facts,
    documents: Sequence[Mapping[str, Any]],
) -> list[Check]:
    """The whole table, in the order things would fail. Pure."""
    return [
        _account(environment, facts),
        _repo(inspection),
        _memory(model, inspection, facts.instance),
        _positions(model, inspection),
        Check("engine flags", *judge_flags(model, documents)),
        Check("compute", *judge_compute(model, documents, inspection.config, facts.instance.gpu_name)),
        Check("ranks", *judge_ranks(model, documents, attention_heads(inspection.config))),
        _room(model, facts.instance),
        _zones(environment, facts),
        _quota(facts),
        _agreement(environment, documents),
        _reachability(environment, documents),
    ]


def _account(environment: Environment, facts: Facts) -> Check:
    wanted = environment.account
    if wanted and wanted != facts.account:
        return Check(
            "account",
            "fail",
            f"the credentials are of account {facts.account}, {environment.name} belongs to {wanted}",
            "aws sts get-caller-identity; use the credentials of that environment",
        )
    return Check("account", "ok", f"{facts.account} in {environment.region}")


def _repo(inspection: HubInspection) -> Check:
    model = inspection.model
    weights = inspection.weight_bytes
    if not weights:
        return Check(
            "repo",
            "fail",
            f"{model.repo} has no weights among the files chosen",
            "check source.allow and ignore",
        )
    if pickles := model.only_pickles:
        # Sizes and dtypes are read from safetensors headers, so nothing here could tell whether it fits.
        more = f" and {len(pickles) - 1} more" if len(pickles) > 1 else ""
        return Check(
            "repo",
            "fail",
            f"{model.repo}@{model.commit[:12]} has its weights in pickles only ({pickles[0]}{more}): reading one can run code, "
            "and what is in it cannot be judged",
            "take a revision with safetensors: https://huggingface.co/spaces/safetensors/convert opens one as a pull request, "
            "then deploy with --revision refs/pr/N",
        )
    skipped = f", {len(model.skipped)} left out" if model.skipped else ""
    gated = ", gated: your token is accepted" if model.gated else ""
    return Check(
        "repo",
        "ok",
        f"{model.repo}@{model.commit[:12]}: {len(model.files)} files{skipped}, "
        f"{human_bytes(model.total_bytes)}{gated}",
    )


def _memory(model: Model, inspection: HubInspection, instance: InstanceType) -> Check:
    name = "GPU memory"
    if not instance.gpus:
        return Check(name, "fail", f"{instance.name} has no GPU", "set cluster.gpu.instance_type")
    try:
        arch = architecture(inspection.config)
    except (KeyError, TypeError, ValueError) as missing:
        return Check(name, "warn", f"config.json does not say {missing}: not judged")
    needs = fit(arch, inspection.weight_bytes, model.engine, instance.gpu_memory)
    remedy = (
        "lower engine.max_model_len or raise gpu_memory_utilization"
        if needs.kv_cache > 0
        else "take a larger GPU, more of them (tensor_parallel_size) or a quantised model"
    )
    return Check(
        name,
        "ok" if needs.fits else "fail",
        f"{instance.gpu_name} ({human_bytes(instance.gpu_memory)}): {needs}",
        "" if needs.fits else remedy,
    )


def _positions(model: Model, inspection: HubInspection) -> Check:
    try:
        longest = architecture(inspection.config).max_positions
    except (KeyError, TypeError, ValueError):
        longest = 0
    wanted = model.engine.max_model_len
    if longest and wanted > longest:
        return Check(
            "context",
            "fail",
            f"max_model_len {wanted} is more than the model's {longest} positions",
            f"set engine.max_model_len to {longest} or less",
        )
    return Check("context", "ok", f"{wanted} tokens" + (f" of the model's {longest}" if longest else ""))


def _room(model: Model, instance: InstanceType) -> Check:
    short = shortages(model.resources, allocatable(instance))
    return Check(
        "node room",
        "fail" if short else "ok",
        "; ".join(short) or f"{model.resources.cpu} CPU, {model.resources.memory} fit {instance.name}",
        "lower resources in the model's file, or take a larger instance type" if short else "",
    )


def _zones(environment: Environment, facts: Facts) -> Check:
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
    return Check("zones", "ok", f"{facts.instance.name} is offered in {facts.zone}")


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
