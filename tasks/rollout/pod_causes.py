"""What keeps a pod from being ready, by the words of the kubelet, the scheduler, the volume controllers and EKS. Pure data.

What vLLM itself says is told by engine_causes.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Matcher:
    """One cause. `where` the pattern is looked for: events, claims, node, group, state or deployment ("REASON exit N")."""

    name: str
    where: str
    pattern: str
    cause: str
    next_command: str
    final: bool = True
    regex: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern))


LOGS = "kubectl -n {namespace} logs {pod} --previous"
DESCRIBE = "kubectl -n {namespace} describe pod {pod}"
_NODES = "kubectl get nodes -L eks.amazonaws.com/nodegroup"
_QUOTA = (
    "aws service-quotas get-service-quota --service-code ec2 --quota-code L-DB2E81BA (G on demand; P: L-417A185B), "
    "and request-service-quota-increase"
)

# what a ReplicaSet says that can make no pod (condition ReplicaFailure): the words of admission
UNMADE: tuple[Matcher, ...] = (
    Matcher(
        "quota",
        "deployment",
        r"exceeded quota",
        "no pod can be made: the namespace's quota is used up",
        "kubectl -n {namespace} describe resourcequota; raise it, or lower resources in the model's file",
        final=False,
    ),
    Matcher(
        "limit-range",
        "deployment",
        r"(maximum|minimum) \S+ usage per|must specify (limits|requests)|failed quota",
        "no pod can be made: a LimitRange or quota of the namespace forbids its requests",
        "kubectl -n {namespace} describe limitrange,resourcequota; resources in the model's file",
        final=False,
    ),
    Matcher(
        "pod-security",
        "deployment",
        r"violates PodSecurity",
        "no pod can be made: the namespace's Pod Security level forbids it",
        "kubectl get namespace {namespace} --show-labels: pod-security.kubernetes.io/enforce",
        final=False,
    ),
    Matcher(
        "webhook",
        "deployment",
        r"admission webhook|failed calling webhook|ValidatingAdmissionPolicy",
        "no pod can be made: an admission webhook or policy refuses it",
        "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies",
        final=False,
    ),
    Matcher(
        "no-account",
        "deployment",
        r"serviceaccount .* not found|error looking up service account",
        "no pod can be made: its service account does not exist",
        "kubectl -n {namespace} get serviceaccounts",
        final=False,
    ),
    Matcher(
        "unmade",
        "deployment",
        r".",
        "no pod can be made",
        "kubectl -n {namespace} get events --field-selector reason=FailedCreate",
        final=False,
    ),
)  # fmt: skip

# before what vLLM says: it did not get as far, or did not end by itself
BEFORE: tuple[Matcher, ...] = (
    Matcher(
        "node-lost",
        "node",
        r"is not Ready|is gone|is being drained",
        "the node it runs on was lost",
        "kubectl describe nodes; a replaced node takes the pod again, and its volume follows it",
        final=False,
    ),
    Matcher(
        "image-processor",
        "events",
        r"no match for platform|exec format error",
        "the image is for another processor than the node's",
        "an image for the node's architecture (engine.image), or an instance type of the image's (cluster.gpu.instance_type)",
    ),
    # before what a registry does not have: its words may stand in one message
    Matcher(
        "image-rate",
        "events",
        r"toomanyrequests|429 Too Many Requests|pull rate limit|rate exceeded",
        "the registry lets no more be pulled for now: its rate limit is reached",
        "wait, or pull through ECR: storage.image_cache in the environment's file",
        final=False,
    ),
    Matcher(
        "image-disk",
        "events",
        r"(Failed to pull image|ErrImagePull|failed to (extract|unpack)).*no space left on device",
        "the node's disk is too small for the image",
        "raise cluster.gpu.volume_gib in the environment's file; kubectl describe nodes",
        final=False,
    ),
    Matcher(
        "image-denied",
        "events",
        r"Failed to pull image.*(denied|unauthorized|authentication required|403 Forbidden|no basic auth credentials)",
        "the image cannot be pulled: the registry denies access",
        "check engine.image in the model's file, and what the node may pull (ecr:BatchGetImage of its role, or an image pull Secret); " + DESCRIBE,
    ),
    Matcher(
        "image-not-found",
        "events",
        r"Failed to pull image.*(not found|manifest unknown|invalid reference)|InvalidImageName",
        "the image cannot be pulled: the registry does not have it",
        "check engine.image in the model's file; " + DESCRIBE,
    ),
    Matcher(
        "image-unreached",
        "events",
        r"Failed to pull image.*(i/o timeout|no such host|connection refused|TLS handshake|x509|context deadline exceeded|EOF)",
        "the image cannot be pulled yet: the registry cannot be reached",
        "the node's way out (NAT, or endpoints of ECR and S3), and the registry's name in engine.image; " + DESCRIBE,
        final=False,
    ),
    Matcher(
        "image-pull",
        "events",
        r"Failed to pull image|ErrImagePull",
        "the image cannot be pulled yet",
        DESCRIBE,
        final=False,
    ),
)  # fmt: skip

# after what is known of vLLM's errors: ended from outside
ENDED: tuple[Matcher, ...] = (
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
)  # fmt: skip

# ended by itself, and it did not say why
CRASHED: tuple[Matcher, ...] = (
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
        LOGS,
    ),
    Matcher(
        "crashed-once",
        "state",
        r"Error exit [1-9]",
        "vLLM crashed",
        LOGS,
        final=False,
    ),
)  # fmt: skip

# it waits for something
WAITING: tuple[Matcher, ...] = (
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
        "node-limit",
        "group",
        r"exceed limits for nodepool|limits have been exhausted for nodepool",
        "no GPU node comes: Karpenter's NodePool is at its limit, cluster.gpu.max",
        "raise cluster.gpu.max in the environment's file, or lower scaling.max_replicas; kubectl get nodepool slipway-gpu",
        final=False,
    ),
    Matcher(
        "node-pool",
        "group",
        r"^(NodeClaim: |Karpenter: |EC2NodeClass |NodePool )",
        "no GPU node comes: Karpenter makes none",
        "kubectl describe nodepool,ec2nodeclass slipway-gpu; kubectl -n kube-system logs deploy/karpenter",
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
        DESCRIBE,
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
        "claim-gone",
        "events",
        r"persistentvolumeclaim .* (not found|is being deleted)",
        "its cache volume's claim is not there",
        "slipway deploy makes the claim again, fills it and starts the model",
        final=False,
    ),
    Matcher(
        "claim-pending",
        "events",
        r"unbound immediate PersistentVolumeClaims|ProvisioningFailed|FailedMount",
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

MATCHERS = (*UNMADE, *BEFORE, *ENDED, *CRASHED, *WAITING)
