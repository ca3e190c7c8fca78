"""Explain why a pod does not become ready: an ordered table of patterns over its events, state and log. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.cloud import objects
from tasks.records.errors import RolloutFailed

# the words of the startup probe in k8s/serving/deployment.yaml
UP = "Startup probe failed: vLLM is up, but "


@dataclass(frozen=True)
class PodEvidence:
    """What was seen of a pod.

    Args:
        pod: the object as on the wire.
        events: lines such as "Warning Reason: message", oldest first.
        log: the last lines.
        claims: the events of unbound claims, each after the claim's name.
        node: what is wrong with its node.
        group: what EKS says is wrong with the node group, where the pod has no node.
    """

    pod: Mapping[str, Any]
    events: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    group: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a pod is not ready. `final`: waiting longer cannot help."""

    cause: str
    evidence: tuple[str, ...]
    next_command: str
    final: bool

    def error(self) -> RolloutFailed:
        return RolloutFailed(self.cause, evidence=self.evidence, next_command=self.next_command)


@dataclass(frozen=True)
class Matcher:
    """One cause. `where` the pattern is looked for: events, claims, node, group, log or state ("REASON exit N")."""

    name: str
    where: str
    pattern: str
    cause: str
    next_command: str
    final: bool = True
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern))


_LOGS = "kubectl -n {namespace} logs {pod} --previous"
_DESCRIBE = "kubectl -n {namespace} describe pod {pod}"
_NODES = "kubectl get nodes -L eks.amazonaws.com/nodegroup"
_QUOTA = (
    "aws service-quotas get-service-quota --service-code ec2 --quota-code L-DB2E81BA (G on demand; P: L-417A185B), "
    "and request-service-quota-increase"
)

MATCHERS: tuple[Matcher, ...] = (
    Matcher(
        "node-lost",
        "node",
        r"is not Ready|is gone|is being drained",
        "the node it runs on was lost",
        "kubectl describe nodes; a replaced node takes the pod again, and its volume follows it",
        final=False,
    ),
    Matcher(
        "image-not-found",
        "events",
        r"Failed to pull image.*(not found|manifest unknown|denied|unauthorized|invalid reference)",
        "the image cannot be pulled: the registry does not have it or denies access",
        "check engine.image in the model's file; " + _DESCRIBE,
    ),
    Matcher(
        "image-pull",
        "events",
        r"Failed to pull image|ErrImagePull",
        "the image cannot be pulled yet",
        _DESCRIBE,
        final=False,
    ),
    Matcher(
        "unknown-flag",
        "log",
        r"unrecognized arguments: .*|invalid choice: .*|error: argument .*",
        "vLLM does not know a flag it was given",
        "check engine in the model's file against `vllm serve --help=all` of that image",
    ),
    Matcher(
        "gpu-memory",
        "log",
        r"OutOfMemoryError|CUDA out of memory|No available memory for the cache blocks",
        "the GPU has too little memory for the weights and flags",
        "lower engine.gpu_memory_utilization or max_model_len, or take a larger GPU",
    ),
    Matcher(
        "kv-cache",
        "log",
        r"larger than the available KV cache memory|max seq len .* is larger than the maximum",
        "the KV cache left beside the weights is too small for max_model_len",
        "lower engine.max_model_len, or take a larger GPU",
    ),
    Matcher(
        "gated",
        "log",
        r"GatedRepoError|401 Client Error|offline mode is enabled|outgoing traffic has been disabled",
        "vLLM tried to reach the hub for gated or missing weights; serving pods run offline on staged weights",
        "slipway deploy again stages what is missing; " + _LOGS,
    ),
    Matcher(
        "weights-missing",
        "log",
        r"(?i)no such file or directory: .*models|invalid repository id or local directory|cannot find any model weights|is not a local folder"
        r"|HeaderTooLarge|SafetensorError|incomplete metadata|Can't load the configuration",
        "vLLM cannot read the weights on the cache volume",
        "slipway deploy again: staging and warming verify and repair what is there",
    ),
    Matcher(
        "host-memory",
        "state",
        r"OOMKilled",
        "the container was killed: its memory limit is too small to load the model",
        "raise resources.memory in the model's file",
    ),
    Matcher(
        "probe-killed-load",
        "events",
        r"failed startup probe, will be restarted",
        "the start-up probe's budget ended while the model was still loading",
        "lower deadlines.cold_read_mib_s in the environment's file: the budget is bytes over that rate",
    ),
    Matcher(
        "ends-again",
        "state",
        r"CrashLoopBackOff after exit 0",
        "vLLM ends by itself with exit code 0 at every start: no error, but nothing that serves",
        "check engine.extra_args in the model's file for a flag that prints and ends, such as --help or --version",
    ),
    Matcher(
        "ended-once",
        "state",
        r"Completed exit 0",
        "vLLM ended by itself with exit code 0 and is started again",
        "check engine.extra_args in the model's file for a flag that prints and ends, such as --help or --version",
        final=False,
    ),
    Matcher(
        "crashed",
        "state",
        r"CrashLoopBackOff",
        "vLLM crashes again and again",
        _LOGS,
    ),
    Matcher(
        "crashed-once",
        "state",
        r"Error exit [1-9]",
        "vLLM crashed",
        _LOGS,
        final=False,
    ),
    Matcher(
        "claim-class",
        "claims",
        r"storageclass\S* \S+ not found|no storage class is set",
        "its cache claim names a StorageClass that does not exist",
        "kubectl get storageclass; slipway deploy again applies k8s/cache/storageclass-retain.yaml",
        final=False,
    ),
    Matcher(
        "csi-identity",
        "claims",
        r"no EC2 IMDS role found|failed to refresh cached credentials|UnauthorizedOperation|AccessDenied",
        "the EBS CSI driver has no AWS identity: no volume is made for the claim",
        "aws eks list-pod-identity-associations --cluster-name CLUSTER --namespace kube-system; "
        "the association of ebs-csi-controller-sa is in infra/terraform/cluster",
        final=False,
    ),
    Matcher(
        "claim-capacity",
        "claims",
        r"VolumeLimitExceeded|InsufficientVolumeCapacity|MaxIOPSLimitExceeded",
        "EC2 makes no volume for the claim: a quota or the zone's capacity is used up",
        "kubectl -n {namespace} describe pvc; aws service-quotas list-service-quotas --service-code ebs",
        final=False,
    ),
    # one message counts the reasons of all nodes: what only a GPU node can say comes before what the others say
    Matcher(
        "volume-zone",
        "events",
        r"volume node affinity conflict|didn't match PersistentVolume's node affinity",
        "its cache volume is in another zone than every node that fits",
        "kubectl get pv -o wide; the node group needs a node in the volume's zone",
        final=False,
    ),
    Matcher(
        "quota",
        "group",
        r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|vCPU limit",
        "no GPU node comes: the account's vCPU quota is used up",
        _QUOTA,
        final=False,
    ),
    Matcher(
        "capacity",
        "group",
        r"InsufficientInstanceCapacity|UnfulfillableCapacity|do not have sufficient \S+ capacity",
        "no GPU node comes: EC2 has no capacity for the instance type in its zone",
        "another zone or instance type (cluster.gpu in the environment's file), or later; " + _NODES,
        final=False,
    ),
    Matcher(
        "node-group",
        "group",
        r"^node group \S+: ",
        "no GPU node comes: EKS reports a health issue of the node group",
        _NODES,
        final=False,
    ),
    Matcher(
        "insufficient-gpu",
        "events",
        r"Insufficient nvidia\.com/gpu",
        "no node has a free GPU for it",
        "kubectl get nodes -o custom-columns=NAME:.metadata.name,GPU:.status.allocatable.nvidia\\.com/gpu",
        final=False,
    ),
    Matcher(
        "insufficient-resources",
        "events",
        r"Insufficient (cpu|memory|ephemeral-storage)",
        "no GPU node has the CPU or memory it asks for",
        "lower resources in the model's file, or take a larger instance type",
        final=False,
    ),
    Matcher(
        "taint",
        "events",
        r"untolerated taint",
        "no node's taints are tolerated",
        "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints",
        final=False,
    ),
    Matcher(
        "selector",
        "events",
        r"didn't match Pod's node affinity/selector",
        "no node has the label it asks for",
        "kubectl get nodes --show-labels",
        final=False,
    ),
    Matcher(
        "multi-attach",
        "events",
        r"Multi-Attach error|FailedAttachVolume",
        "its cache volume is attached to another node",
        _DESCRIBE,
        final=False,
    ),
    Matcher(
        "claim-unbound",
        "claims",
        r"ProvisioningFailed|FailedBinding",
        "its cache claim is Pending",
        "kubectl -n {namespace} describe pvc",
        final=False,
    ),
    Matcher(
        "claim-pending",
        "events",
        r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim .* not found|ProvisioningFailed|FailedMount",
        "its cache volume is not available",
        "kubectl -n {namespace} describe pvc",
        final=False,
    ),
    Matcher(
        "no-nodes",
        "events",
        r"no nodes available|0/0 nodes",
        "there is no node at all",
        _NODES,
        final=False,
    ),
)  # fmt: skip


# the scheduler's own; Karpenter writes events of that reason too
_SCHEDULERS = r"Warning FailedScheduling: (0/\d+ nodes|no nodes) "


def container_states(pod: Mapping[str, Any]) -> list[str]:
    """The containers' present and last states, as "REASON", "REASON after exit 0" or "REASON exit N"."""
    lines = []
    for status in objects.container_statuses(pod):
        last = status.get("lastState") or {}
        without_error = (last.get("terminated") or {}).get("exitCode") == 0
        for state in (status.get("state") or {}, last):
            if waiting := state.get("waiting"):
                lines.append(f"{waiting.get('reason', '')}{' after exit 0' if without_error else ''}")
            if ended := state.get("terminated"):
                lines.append(f"{ended.get('reason', '')} exit {ended.get('exitCode')}")
    return lines


def current_events(seen: PodEvidence) -> list[str]:
    """The event lines that still hold: events are kept for an hour, whatever came of them.

    The scheduler's present reason is in the pod's condition. Its events keep earlier reasons, and a series of them
    only its first message (k8s.io/client-go/tools/events).
    """
    over: set[str] = set()
    scheduled = objects.condition(seen.pod, "PodScheduled")
    if scheduled.get("status") == "True":
        over.add("FailedScheduling")
    elif scheduled.get("reason") == "Unschedulable" and scheduled.get("message"):
        now = f"Warning FailedScheduling: {scheduled['message']}"
        lines = [line for line in seen.events if not re.match(_SCHEDULERS, line)]
        return [*lines, now]
    if any("running" in (s.get("state") or {}) for s in objects.container_statuses(seen.pod)):
        over |= {"FailedAttachVolume", "FailedMount", "Failed", "ErrImagePull"}
    return [line for line in seen.events if line.partition(":")[0].rpartition(" ")[2] not in over]


def last_words(log: Sequence[str]) -> list[str]:
    """The log's last lines, and before them the last that name an error: a traceback often ends in advice."""
    tail = list(log[-5:])
    return [line for line in log[:-5] if re.search(r"\w(Error|Exception)\b", line)][-3:] + tail


def explain(seen: PodEvidence) -> Explanation | None:
    """The first cause in MATCHERS that the evidence shows; None where there is none yet."""
    names = _names(seen.pod)
    events = current_events(seen)
    lines_of: dict[str, Sequence[str]] = {
        "events": events,
        "log": seen.log,
        "state": container_states(seen.pod),
        "claims": seen.claims,
        "node": seen.node,
        "group": seen.group,
    }
    for matcher in MATCHERS:
        found = [line for line in lines_of[matcher.where] if matcher.regex.search(line)]
        if found:
            context = {"state": last_words(seen.log), "group": events[-1:]}.get(matcher.where, [])
            return Explanation(
                matcher.cause,
                (f"pod {names['pod']}", *found[-3:], *context),
                matcher.next_command.format(**names),
                matcher.final,
            )
    return None


def explain_first(evidence: Sequence[PodEvidence]) -> Explanation | None:
    """The first explanation that any of the pods gives."""
    return next((found for seen in evidence if (found := unanswered(seen) or explain(seen))), None)


def unanswered(seen: PodEvidence) -> Explanation | None:
    """Explain a pod that came up and fails its startup probe; None where its container was restarted since.

    After a restart those events may be of its last life, whose end tells more.
    """
    if any(status.get("restartCount") for status in objects.container_statuses(seen.pod)[:1]):
        return None
    answers = [line.partition(UP)[2] for line in seen.events if UP in line]
    if not answers:
        return None
    names = _names(seen.pod)
    evidence = (f"pod {names['pod']}", answers[-1], *seen.log[-5:])
    if "/v1/models lists" in answers[-1]:
        cause = "vLLM serves another name than it was asked to"
        return Explanation(cause, evidence, "check --served-model-name in engine.extra_args", final=True)
    command = "kubectl -n {namespace} logs {pod}".format(**names)
    return Explanation("vLLM is up and does not answer as it must", evidence, command, final=False)


def _names(pod: Mapping[str, Any]) -> dict[str, str]:
    metadata = pod.get("metadata") or {}
    return {"namespace": metadata.get("namespace", ""), "pod": metadata.get("name", "")}
