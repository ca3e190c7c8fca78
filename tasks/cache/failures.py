"""Why a cache did not get warm, as a person needs it: the cause, the lines it was read from, the next command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.cache import manifests
from tasks.cache.exits import exits
from tasks.records.environment import Environment
from tasks.records.errors import WarmingFailed
from tasks.records.model import Model
from tasks.records.quantities import human_seconds

# How the EBS CSI driver words it in ProvisioningFailed: a role without the action, or no role at all.
_NO_IDENTITY = ("UnauthorizedOperation", "AccessDenied", "get credentials", "NoCredentialProviders")
_UNPULLABLE = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True)
class Place:
    """The names a next command needs."""

    namespace: str
    claim: str
    job: str
    cluster: str
    model: str
    image: str


def place_of(model: Model, environment: Environment, commit: str) -> Place:
    return Place(
        environment.namespace,
        manifests.claim_name(model),
        manifests.job_name(model, commit),
        environment.cluster.name,
        model.name,
        model.engine.image,
    )


def ended(code: int, reason: str, cause: str | None, log: Sequence[str], place: Place) -> WarmingFailed:
    """A warm pod that ended badly. `cause` is its own word, where it could still say one."""
    again = f"slipway deploy {place.model} -e ENVIRONMENT"
    job = f"kubectl -n {place.namespace} logs job/{place.job}"
    causes = {
        "NO_SPACE": (f"the volume of {place.claim} is full", f"raise cache.size in models/{place.model}.yaml, then {again}"),
        "BAD_DATA": ("what was written is not what was staged", f"{again}: staging proves the files in S3 first"),
        "NOT_FOUND": ("the staged model is not in S3 any more", f"{again}: it is staged anew"),
        "NO_ANSWER": ("S3 does not answer", f"{again}: what was copied is kept"),
        "BAD_DISK": (f"the volume of {place.claim} fails", f"kubectl -n {place.namespace} describe pvc {place.claim}"),
        "BUSY": (f"another warming holds {place.claim}", f"kubectl -n {place.namespace} get jobs -l app=model-cache"),
        "DENIED": (
            "the model bucket may not be read",
            f"aws eks list-pod-identity-associations --cluster-name {place.cluster} "
            f"--namespace {place.namespace} --service-account model-cache",
        ),
    }  # fmt: skip
    if reason == "OOMKilled":
        what, command = "the warm job was killed for memory", "raise its limit in k8s/cache/job.yaml"
    else:
        what, command = causes.get(exits().names.get(code, ""), (f"the warm job ended with code {code}", job))
    return WarmingFailed(
        f"{what}: {cause}" if cause else what, evidence=list(log)[-10:], next_command=command
    )


def unpullable(reason: str, message: str, events: Sequence[str], place: Place) -> WarmingFailed | None:
    """The image cannot be pulled; None for a reason that is none of that."""
    if reason not in _UNPULLABLE:
        return None
    return WarmingFailed(
        f"the image {place.image} cannot be pulled ({reason})",
        evidence=[line for line in (message, *events[-5:]) if line],
        next_command=f"correct engine.image in models/{place.model}.yaml",
    )


def overdue(
    phase: str,
    seconds: float,
    pod: str | None,
    pod_events: Sequence[str],
    claim_events: Sequence[str],
    place: Place,
) -> WarmingFailed:
    """A phase that took longer than its deadline of `seconds`."""
    describe = f"kubectl -n {place.namespace} describe"
    of_pod = f"{describe} pod {pod}" if pod else f"{describe} job {place.job}"
    of_claim = f"{describe} pvc {place.claim}"
    within = f"within {human_seconds(seconds)}"
    warnings = [line for line in claim_events if line.startswith("Warning")]
    cause, evidence, command = {
        "deleting": (
            f"{place.claim} or its job is being deleted and was not gone {within}",
            claim_events,
            of_claim,
        ),
        "binding": (f"{place.claim} was not bound to its volume {within}", claim_events, of_claim),
        "growing": (f"the volume of {place.claim} did not grow {within}", warnings or claim_events, of_claim),
        "creating": (f"the warm job made no pod {within}", pod_events, of_pod),
        "scheduling": (f"no node took the warm job {within}", pod_events, of_pod),
        "volume": (f"the volume of {place.claim} was not made {within}", warnings or claim_events, of_claim),
        "starting": (f"the warm job did not start {within} (image pull, volume attach)", pod_events, of_pod),
        "running": (f"the copy did not end {within}", pod_events, of_pod),
        "lost": (
            f"the node of the warm job was lost, and neither came back nor gave way to another {within}",
            pod_events,
            "kubectl get nodes, then deploy again: what was copied is kept",
        ),
    }[phase]
    if phase == "volume" and _is_denied(warnings):
        cause, command = "the EBS CSI driver may not make volumes", _driver_identity(place)
    return WarmingFailed(cause, evidence=list(evidence)[-10:], next_command=command)


def another_zone(volume: str, zone: str, zones: Sequence[str], place: Place) -> WarmingFailed:
    """A volume has one zone, and no GPU node is in it: waiting does not help."""
    return WarmingFailed(
        f"the volume of {place.claim} is in {zone}, and the GPU nodes are in {', '.join(zones)}",
        evidence=[f"{volume} can be attached in {zone} only", f"zones of the GPU nodes: {', '.join(zones)}"],
        next_command=f"set cluster.gpu.zone: {zone}; or, with no replica running, kubectl -n {place.namespace} delete pvc "
        f"{place.claim}, then deploy again: a new volume is warmed, and {volume} stays until it is deleted",
    )


def lost(place: Place) -> WarmingFailed:
    return WarmingFailed(
        f"the claim {place.claim} lost its volume",
        evidence=["status.phase: Lost"],
        next_command=f"kubectl -n {place.namespace} delete pvc {place.claim}, then deploy again",
    )


def no_snapshots(missing: Sequence[str], place: Place) -> WarmingFailed:
    """The definitions come with EKS's snapshot-controller add-on."""
    return WarmingFailed(
        "the cluster knows no VolumeSnapshot: its snapshot-controller add-on is not there",
        evidence=[f"no CustomResourceDefinition {name}" for name in missing],
        next_command=f"aws eks describe-addon --cluster-name {place.cluster} --addon-name snapshot-controller",
    )


def snapshot_overdue(
    name: str, seconds: float, error: str, events: Sequence[str], place: Place
) -> WarmingFailed:
    """A snapshot that was not ready within its deadline of `seconds`; `error` is its controller's last word."""
    evidence = [line for line in (error, *events[-5:]) if line]
    if _is_denied(evidence):
        return WarmingFailed(
            "the EBS CSI driver may not take snapshots",
            evidence=evidence,
            next_command=_driver_identity(place),
        )
    return WarmingFailed(
        f"the snapshot {name} of {place.claim} was not ready within {human_seconds(seconds)}",
        evidence=evidence,
        next_command=f"kubectl -n {place.namespace} describe volumesnapshot {name}",
    )


def _is_denied(lines: Sequence[str]) -> bool:
    return any(word in line for line in lines for word in _NO_IDENTITY)


def _driver_identity(place: Place) -> str:
    return (
        f"aws eks list-pod-identity-associations --cluster-name {place.cluster} "
        "--namespace kube-system --service-account ebs-csi-controller-sa"
    )
