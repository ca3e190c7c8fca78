"""Why a cache did not get warm, as errors for people: the cause, the lines it was read from, the next command."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.cache.context import Context
from tasks.cache.decide import Phase
from tasks.cache.exits import exits
from tasks.records.errors import WarmingFailed
from tasks.records.names import CACHE
from tasks.records.quantities import human_seconds

# How the EBS CSI driver words it in ProvisioningFailed: a role without the action, or no role at all.
_NO_IDENTITY = ("UnauthorizedOperation", "AccessDenied", "get credentials", "NoCredentialProviders")
_UNPULLABLE = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def ended(context: Context, code: int, reason: str, cause: str | None, log: Sequence[str]) -> WarmingFailed:
    """A warm pod that ended badly. `reason`: Kubernetes' word for it; `cause`: the program's own, where it could say one."""
    claim, kubectl = context.claim, f"kubectl -n {context.namespace}"
    again = f"slipway deploy {context.model.name} -e {context.environment.name}"
    causes = {
        "NO_SPACE": (f"the volume of {claim} is full", f"raise cache.size in models/{context.model.name}.yaml, then {again}"),
        "BAD_DATA": ("what was written is not what was staged", f"{again}: staging proves the files in S3 first"),
        "NOT_FOUND": ("the staged model is not in S3 any more", f"{again}: it is staged anew"),
        "NO_ANSWER": ("S3 does not answer", f"{again}: what was copied is kept"),
        "BAD_DISK": (f"the volume of {claim} fails", f"{kubectl} describe pvc {claim}"),
        "BUSY": (f"another warming holds {claim}", f"{kubectl} get jobs -l app={CACHE}"),
        "DENIED": ("the model bucket may not be read", _pod_identity(context, context.namespace, CACHE)),
    }  # fmt: skip
    if reason == "OOMKilled":
        what, command = "the warm job was killed for memory", "raise its limit in k8s/cache/job.yaml"
    else:
        unknown = (f"the warm job ended with code {code}", f"{kubectl} logs job/{context.job}")
        what, command = causes.get(exits().names.get(code, ""), unknown)
    return WarmingFailed(
        f"{what}: {cause}" if cause else what, evidence=list(log)[-10:], next_command=command
    )


def said_nothing(context: Context, log: Sequence[str]) -> WarmingFailed:
    """A job that succeeded without the line that says what it did."""
    return WarmingFailed(
        f"job {context.job} succeeded but did not say what it did",
        evidence=list(log)[-10:],
        next_command=f"kubectl -n {context.namespace} delete job {context.job}, then deploy again",
    )


def unpullable(context: Context, reason: str, message: str, events: Sequence[str]) -> WarmingFailed | None:
    """An image that cannot be pulled; None for any other reason to wait."""
    if reason not in _UNPULLABLE:
        return None
    return WarmingFailed(
        f"the image {context.model.engine.image} cannot be pulled ({reason})",
        evidence=[line for line in (message, *events[-5:]) if line],
        next_command=f"correct engine.image in models/{context.model.name}.yaml",
    )


def overdue(
    context: Context,
    phase: Phase,
    seconds: float,
    *,
    pod: str | None,
    pod_events: Sequence[str],
    claim_events: Sequence[str],
) -> WarmingFailed:
    """A phase that took longer than its deadline of `seconds`. `pod`: the job's newest, where there is one."""
    claim, within = context.claim, f"within {human_seconds(seconds)}"
    cause = {
        "deleting": f"{claim} or its job is being deleted and was not gone {within}",
        "binding": f"{claim} was not bound to its volume {within}",
        "growing": f"the volume of {claim} did not grow {within}",
        "creating": f"the warm job made no pod {within}",
        "scheduling": f"no node took the warm job {within}",
        "volume": f"the volume of {claim} was not made {within}",
        "starting": f"the warm job did not start {within} (image pull, volume attach)",
        "running": f"the copy did not end {within}",
        "lost": f"the node of the warm job was lost, and neither came back nor gave way to another {within}",
    }[phase]
    describe = f"kubectl -n {context.namespace} describe"
    evidence, command = pod_events, f"{describe} pod {pod}" if pod else f"{describe} job {context.job}"
    if phase in ("deleting", "binding", "growing", "volume"):
        evidence, command = claim_events, f"{describe} pvc {claim}"
    if phase == "lost":
        command = "kubectl get nodes, then deploy again: what was copied is kept"
    if phase in ("growing", "volume"):
        warnings = [line for line in claim_events if line.startswith("Warning")]
        evidence = warnings or claim_events
        if phase == "volume" and _is_denied(warnings):
            cause, command = "the EBS CSI driver may not make volumes", _driver_identity(context)
    return WarmingFailed(cause, evidence=list(evidence)[-10:], next_command=command)


def another_zone(context: Context, volume: str, zone: str, zones: Sequence[str]) -> WarmingFailed:
    """A volume has one zone, and no GPU node is in it: waiting does not help."""
    return WarmingFailed(
        f"the volume of {context.claim} is in {zone}, and the GPU nodes are in {', '.join(zones)}",
        evidence=[f"{volume} can be attached in {zone} only", f"zones of the GPU nodes: {', '.join(zones)}"],
        next_command=f"set cluster.gpu.zone: {zone}; or, with no replica running, kubectl -n {context.namespace} delete pvc "
        f"{context.claim}, then deploy again: a new volume is warmed, and {volume} stays until it is deleted",
    )


def lost(context: Context) -> WarmingFailed:
    """A claim whose volume is gone."""
    return WarmingFailed(
        f"the claim {context.claim} lost its volume",
        evidence=["status.phase: Lost"],
        next_command=f"kubectl -n {context.namespace} delete pvc {context.claim}, then deploy again",
    )


def no_snapshots(context: Context, missing: Sequence[str]) -> WarmingFailed:
    """A cluster without snapshots: their definitions come with EKS's snapshot-controller add-on."""
    cluster = context.environment.eks_cluster
    return WarmingFailed(
        "the cluster knows no VolumeSnapshot: its snapshot-controller add-on is not there",
        evidence=[f"no CustomResourceDefinition {name}" for name in missing],
        next_command=f"aws eks describe-addon --cluster-name {cluster} --addon-name snapshot-controller",
    )


def snapshot_overdue(context: Context, seconds: float, error: str, events: Sequence[str]) -> WarmingFailed:
    """A snapshot that was not ready within its deadline of `seconds`; `error` is its controller's last word."""
    evidence = [line for line in (error, *events[-5:]) if line]
    if _is_denied(evidence):
        return WarmingFailed(
            "the EBS CSI driver may not take snapshots",
            evidence=evidence,
            next_command=_driver_identity(context),
        )
    return WarmingFailed(
        f"the snapshot {context.snapshot} of {context.claim} was not ready within {human_seconds(seconds)}",
        evidence=evidence,
        next_command=f"kubectl -n {context.namespace} describe volumesnapshot {context.snapshot}",
    )


def _is_denied(lines: Sequence[str]) -> bool:
    return any(word in line for line in lines for word in _NO_IDENTITY)


def _driver_identity(context: Context) -> str:
    return _pod_identity(context, "kube-system", "ebs-csi-controller-sa")


def _pod_identity(context: Context, namespace: str, account: str) -> str:
    """The command that lists the role of a service account."""
    return (
        f"aws eks list-pod-identity-associations --cluster-name {context.environment.eks_cluster} "
        f"--namespace {namespace} --service-account {account}"
    )
