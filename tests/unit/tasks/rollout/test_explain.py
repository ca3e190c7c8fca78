"""Each cause from lines as kubelet, scheduler and vLLM write them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.rollout.explain import (
    UP,
    PodEvidence,
    container_states,
    current_events,
    explain,
    unanswered,
    unmade,
)
from tasks.rollout.pod_causes import MATCHERS
from tests.support.pods import RUNNING, SCHEDULED, UNREADY
from tests.support.pods import a_pod as a_started_pod


def a_pod(
    *,
    scheduled: bool = False,
    state: dict[str, Any] | None = None,
    last: dict[str, Any] | None = None,
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True" if scheduled else "False"}],
    }
    if state is not None:
        status["containerStatuses"] = [{"name": "vllm", "state": state, "lastState": last or {}}]
    return {"metadata": {"name": "vllm-x-1", "namespace": "llm"}, "spec": {}, "status": status}


UNSCHEDULED = a_pod()
WAITING = a_pod(scheduled=True, state={"waiting": {"reason": "ContainerCreating"}})
LOADING = a_pod(scheduled=True, state={"running": {"startedAt": "2025-01-01T00:00:00Z"}})
CRASHED = a_pod(
    scheduled=True,
    state={"waiting": {"reason": "CrashLoopBackOff"}},
    last={"terminated": {"reason": "Error", "exitCode": 1}},
)
OOM = a_pod(scheduled=True, state={"terminated": {"reason": "OOMKilled", "exitCode": 137}})

# as the volume controllers and the EBS CSI driver write them, after the claim's name
CLAIMS = [
    (
        'claim c: Warning ProvisioningFailed: storageclass.storage.k8s.io "gp4" not found',
        "names a StorageClass that does not exist",
    ),
    (
        'claim c: Warning ProvisioningFailed: failed to provision volume with StorageClass "gp3": rpc error: code = '
        "Internal desc = get credentials: failed to refresh cached credentials, no EC2 IMDS role found",
        "has no AWS identity",
    ),
    (
        "claim c: Warning ProvisioningFailed: rpc error: code = Internal desc = api error VolumeLimitExceeded: You have "
        "exceeded the maximum gp3 storage limit",
        "EC2 makes no volume",
    ),
    ("claim c: Warning ProvisioningFailed: context deadline exceeded", "claim is Pending"),
]

# as EKS tells a node group's health
GROUPS = [
    (
        "node group gpu: AsgInstanceLaunchFailures: VcpuLimitExceeded - You have requested more vCPU",
        "vCPU quota",
    ),
    (
        "node group gpu: AsgInstanceLaunchFailures: We currently do not have sufficient g5.2xlarge capacity",
        "no capacity",
    ),
    ("node group gpu: AsgInstanceLaunchFailures: UnfulfillableCapacity - Unable to fulfill", "no capacity"),
    (
        "node group gpu: InsufficientFreeAddresses: the subnet has no free addresses",
        "reports a health issue",
    ),
    (
        "Karpenter: node limits have been exhausted for nodepool (NodePool=slipway-gpu)",
        "at its limit, cluster.gpu.max",
    ),
    ("EC2NodeClass slipway-gpu: SubnetsReady: SubnetsNotFound: none", "Karpenter makes none"),
]

EVENTS = [
    (
        WAITING,
        'Warning Failed: Failed to pull image "vllm/vllm-openai:v9": rpc error: code = NotFound desc = failed to '
        'pull and unpack image "docker.io/vllm/vllm-openai:v9": not found',
        "registry does not have it", True,
    ),
    (WAITING, "Warning Failed: Error: ErrImagePull", "image cannot be pulled yet", False),
    (
        WAITING,
        'Warning Failed: Failed to pull image "vllm/vllm-openai:v0.32.0": failed to pull and unpack image "docker.io/vllm/vllm-openai:v0.32.0": '
        "no match for platform in manifest: not found",
        "for another processor", True,
    ),
    (
        WAITING,
        'Warning Failed: Failed to pull image "vllm/vllm-openai:v0.32.0": unexpected status from HEAD request to '
        "https://registry-1.docker.io/v2/vllm/manifests/v0.32.0: 429 Too Many Requests - Server message: toomanyrequests: You have reached your "
        "unauthenticated pull rate limit.",
        "rate limit", False,
    ),
    (
        WAITING,
        'Warning Failed: Failed to pull image "vllm/vllm-openai:v0.32.0": failed to extract layer sha256:ab: write /var/lib/containerd/x: '
        "no space left on device",
        "disk is too small", False,
    ),
    (
        WAITING,
        'Warning Failed: Failed to pull image "1.dkr.ecr.eu-west-1.amazonaws.com/x:1": unexpected status from HEAD request: 403 Forbidden',
        "denies access", True,
    ),
    (
        WAITING,
        'Warning Failed: Failed to pull image "registry.acme/x:1": dial tcp: lookup registry.acme: no such host',
        "cannot be reached", False,
    ),
    (
        LOADING, "Normal Killing: Container vllm failed startup probe, will be restarted",
        "start-up probe's budget ended", True,
    ),
    (
        UNSCHEDULED,
        "Warning FailedScheduling: 0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match "
        "Pod's node affinity/selector. preemption: 0/3 nodes are available",
        "no node has a free GPU", False,
    ),
    (
        UNSCHEDULED, "Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient memory.",
        "CPU or memory", False,
    ),
    (
        UNSCHEDULED,
        "Warning FailedScheduling: 0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: true}.",
        "taints", False,
    ),
    (
        UNSCHEDULED,  # by 1.36
        "Warning FailedScheduling: 0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate",
        "taints", False,
    ),
    (
        UNSCHEDULED,  # by 1.36
        "Warning FailedScheduling: 0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.",
        "another zone", False,
    ),
    (
        UNSCHEDULED,
        "Warning FailedScheduling: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        "label", False,
    ),
    (
        UNSCHEDULED,
        "Warning FailedScheduling: 0/2 nodes are available: 2 node(s) had volume node affinity conflict.",
        "another zone", False,
    ),
    (
        WAITING,
        'Warning FailedAttachVolume: Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) a',
        "attached to another node", False,
    ),
    (
        UNSCHEDULED,
        'Warning FailedScheduling: 0/1 nodes are available: persistentvolumeclaim "model-cache-x" not found.',
        "claim is not there", False,
    ),
    (
        UNSCHEDULED,
        "Warning FailedScheduling: no nodes available to schedule pods",
        "no node at all", False,
    ),
]  # fmt: skip

# as the ReplicaSet controller passes on what admission says
UNMADE = [
    (
        'pods "vllm-x-7d9-" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 4, limited: 4',
        "quota is used up",
    ),
    ('pods "vllm-x-7d9-abcde" is forbidden: maximum memory usage per Container is 8Gi, but limit is 12Gi', "a LimitRange"),
    ('pods "vllm-x" is forbidden: failed quota: q: must specify limits.cpu for: vllm', "a LimitRange or quota"),
    (
        'pods "vllm-x-7d9-abcde" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities',
        "Pod Security level",
    ),
    ('admission webhook "validate.kyverno.svc-fail" denied the request: no tag latest', "admission webhook"),
    ('pods "vllm-x" is forbidden: error looking up service account llm/vllm: serviceaccount "vllm" not found', "service account"),
    ("Internal error occurred: boo", "no pod can be made"),
]  # fmt: skip

OUT_OF_MEMORY = (
    "(EngineCore_DP0 pid=99) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB."
)
CUT = "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"
NEW = "vllm.new.QuantumError: the cat is both"


@pytest.mark.parametrize(("pod", "line", "cause", "final"), EVENTS, ids=[event[2] for event in EVENTS])
def test_an_event_explains(pod: dict[str, Any], line: str, cause: str, final: bool) -> None:
    found = explain(PodEvidence(pod, events=("Normal Scheduled: somewhere", line)))
    assert found
    assert cause in found.cause
    assert found.final is final
    assert found.evidence == ("pod vllm-x-1", line)


def restarted(state: dict[str, Any]) -> dict[str, Any]:
    return a_pod(scheduled=True, state=state, last={"terminated": {"reason": "Error", "exitCode": 1}})


RUNS_AGAIN = restarted({"running": {"startedAt": "2025-01-01T00:00:00Z"}})


@pytest.mark.parametrize(
    ("pod", "line", "cause", "final"),
    [
        (CRASHED, OUT_OF_MEMORY, "the GPU has too little memory", True),
        (RUNS_AGAIN, OUT_OF_MEMORY, "the GPU has too little memory", True),
        (LOADING, OUT_OF_MEMORY, "the GPU has too little memory", True),
        (CRASHED, CUT, "vLLM cannot read the weights", True),
        (RUNS_AGAIN, CUT, "vLLM cannot read the weights", False),
        (CRASHED, NEW, "vLLM ended: QuantumError: the cat is both", True),
        (RUNS_AGAIN, NEW, "vLLM ended: QuantumError: the cat is both", False),
    ],
)
def test_an_engines_error_ends_the_wait_unless_the_next_start_may_do_better(
    pod: dict[str, Any], line: str, cause: str, final: bool
) -> None:
    found = explain(PodEvidence(pod, log=("INFO starting", line)))
    assert found
    assert found.cause.startswith(cause)
    assert line in found.evidence
    assert found.final is final
    assert found.log == ("INFO starting", line)


def test_an_error_nobody_knows_of_a_life_that_goes_on_explains_nothing() -> None:
    assert explain(PodEvidence(LOADING, log=(NEW,))) is None


def test_the_life_before_is_told_where_the_present_one_has_no_error() -> None:
    found = explain(PodEvidence(RUNS_AGAIN, log=("INFO starting",), previous=("INFO old", CUT)))
    assert found
    assert found.log == ("INFO old", CUT)


def test_no_secret_of_a_log_is_evidence() -> None:
    line = "OSError: boo https://bucket.s3.amazonaws.com/x?X-Amz-Signature=abc hf_abcdef"
    found = explain(PodEvidence(CRASHED, log=(line,)))
    assert found
    assert "abc" not in "\n".join(found.evidence)


@pytest.mark.parametrize(
    ("pod", "cause"), [(OOM, "memory limit is too small"), (CRASHED, "crashes again and again")]
)
def test_the_containers_state_explains_with_the_end_of_its_log(pod: dict[str, Any], cause: str) -> None:
    log = tuple(f"line {n}" for n in range(20))
    found = explain(PodEvidence(pod, log=log))
    assert found
    assert cause in found.cause
    assert found.evidence[-1] == "line 19"
    assert len(found.evidence) < 15


def test_what_the_log_says_goes_before_the_crash_it_led_to() -> None:
    found = explain(PodEvidence(CRASHED, log=("torch.OutOfMemoryError: CUDA out of memory.",)))
    assert found
    assert "GPU" in found.cause


def test_a_missing_gpu_goes_before_the_other_nodes_taints() -> None:
    line = "Warning FailedScheduling: 0/2 nodes: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {a: b}"
    found = explain(PodEvidence(UNSCHEDULED, events=(line,)))
    assert found
    assert "free GPU" in found.cause


def test_what_the_scheduler_says_now_goes_before_what_it_said() -> None:
    """A series of its events keeps its first message, and events stay for an hour: the condition is what holds."""
    now = "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    pod = a_pod()
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": now}
    ]
    said = (
        "Warning FailedScheduling: no nodes available to schedule pods",
        "Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        "Warning FailedScheduling: Failed to schedule pod, incompatible with nodepool",
    )
    found = explain(PodEvidence(pod, events=said))
    assert found
    assert "another zone" in found.cause
    assert found.evidence[1:] == (f"Warning FailedScheduling: {now}",)
    assert current_events(PodEvidence(pod, events=said)) == [said[2], f"Warning FailedScheduling: {now}"]


@pytest.mark.parametrize(
    "line", [event[1] for event in EVENTS if not event[3] and "FailedScheduling" in event[1]]
)
@pytest.mark.parametrize("pod", [WAITING, LOADING], ids=["pulling", "loading"])
def test_why_it_was_once_not_scheduled_explains_nothing_once_it_is(pod: dict[str, Any], line: str) -> None:
    """Events stay for an hour. A pod that waited for a GPU and now loads must not be given up for it."""
    assert (
        explain(PodEvidence(pod, events=(line, "Normal Scheduled: Successfully assigned llm/x to n"))) is None
    )


def test_a_volume_that_was_attached_in_the_end_explains_nothing() -> None:
    line = 'Warning FailedAttachVolume: Multi-Attach error for volume "pvc-1"'
    assert explain(PodEvidence(LOADING, events=(line, "Normal SuccessfulAttachVolume: attached"))) is None


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-21 [api_server.py] vLLM API server version 0.32.0",
        "INFO 11-21 [weight_utils.py] Time spent downloading weights: 0.1 s",
        "WARNING 11-21 [config.py] Using default MoE config. Config file not found at /usr/lib/E=8.json",
        "INFO Available KV cache memory: 12.3 GiB",
        "INFO:     127.0.0.1:4242 - \"GET /health HTTP/1.1\" 503 Service Unavailable",
        "WARNING 11-21 [tokenizer.py] chat template file does not exist, using the tokenizer's own",
    ],
)  # fmt: skip
def test_a_healthy_start_is_not_explained_away(line: str) -> None:
    assert explain(PodEvidence(LOADING, events=("Normal Pulled: image",), log=(line,))) is None


def test_nothing_seen_is_no_explanation() -> None:
    assert explain(PodEvidence({"metadata": {}, "status": {}})) is None


def test_the_next_command_names_the_pod() -> None:
    found = explain(PodEvidence(WAITING, events=("Warning Failed: Error: ErrImagePull",)))
    assert found
    assert "kubectl -n llm describe pod vllm-x-1" in found.next_command


def test_the_states_of_a_restarted_container() -> None:
    assert container_states(CRASHED) == ["CrashLoopBackOff", "Error exit 1"]


def test_every_matcher_has_a_case_here() -> None:
    lines = (
        [event[1] for event in EVENTS]
        + [claim[0] for claim in CLAIMS]
        + [group[0] for group in GROUPS]
        + [said for said, _ in UNMADE]
        + ["Warning FailedScheduling: pod has unbound immediate PersistentVolumeClaims"]
        + ["CrashLoopBackOff after exit 0", "Completed exit 0"]
        + ["OOMKilled", "CrashLoopBackOff", "Error exit 1", "node n is not Ready: NodeStatusUnknown"]
    )
    silent = [matcher.name for matcher in MATCHERS if not any(matcher.regex.search(line) for line in lines)]
    assert silent == []


@pytest.mark.parametrize(("line", "cause"), CLAIMS)
def test_a_claims_own_events_explain_a_pod_that_waits_for_it(line: str, cause: str) -> None:
    unbound = (
        "Warning FailedScheduling: 0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )
    found = explain(PodEvidence(UNSCHEDULED, (unbound,), (), (line,)))
    assert found is not None
    assert cause in found.cause
    assert line in found.evidence


@pytest.mark.parametrize(("line", "cause"), GROUPS)
def test_a_node_group_that_is_not_well_explains_a_pod_that_waits_for_a_node(line: str, cause: str) -> None:
    waiting = "Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    found = explain(PodEvidence(UNSCHEDULED, events=(waiting,), group=(line,)))
    assert found
    assert cause in found.cause
    assert found.evidence[1:] == (line, waiting)
    assert not found.final


def test_a_node_group_nobody_could_ask_explains_nothing() -> None:
    waiting = "Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    found = explain(
        PodEvidence(UNSCHEDULED, events=(waiting,), group=("the node group's health is not known: x",))
    )
    assert found
    assert found.cause == "no node has a free GPU for it"


def a_deployment(**condition: str) -> dict[str, Any]:
    conditions = [{"type": "ReplicaFailure", **condition}] if condition else []
    return {"metadata": {"name": "vllm-x", "namespace": "llm"}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(("said", "cause"), UNMADE)
def test_a_replica_set_that_can_make_no_pod_is_told_in_the_api_servers_words(said: str, cause: str) -> None:
    found = unmade(a_deployment(status="True", reason="FailedCreate", message=said))
    assert found
    assert cause in found.cause
    assert found.evidence == ("deployment vllm-x", said)
    assert "{" not in found.next_command
    assert not found.final


@pytest.mark.parametrize("deployment", [None, a_deployment(), a_deployment(status="False", message="old")])
def test_a_replica_set_that_makes_its_pods_explains_nothing(deployment: dict[str, Any] | None) -> None:
    assert unmade(deployment) is None


def up(*events: str, restarts: int = 0) -> PodEvidence:
    pod = a_started_pod(SCHEDULED, UNREADY, state=RUNNING, namespace="llm")
    pod["status"]["containerStatuses"][0]["restartCount"] = restarts
    return PodEvidence(pod, events=events)


def test_a_pod_that_serves_another_name_is_told_at_once() -> None:
    found = unanswered(up(f"Warning Unhealthy: {UP}/v1/models lists other, not x"))
    assert found
    assert found.final
    assert found.cause == "vLLM serves another name than it was asked to"
    assert "/v1/models lists other, not x" in found.evidence


def test_a_pod_that_is_up_and_cannot_complete_may_yet_recover() -> None:
    found = unanswered(up(f"Warning Unhealthy: {UP}/v1/completions answers 500: oh"))
    assert found
    assert not found.final
    assert "/v1/completions answers 500: oh" in found.evidence


@pytest.mark.parametrize(
    "events",
    [
        (),
        ("Warning Unhealthy: Startup probe failed: not up yet: [Errno 111] Connection refused",),
        ("Normal Pulled: Successfully pulled image",),
    ],
)
def test_a_pod_that_is_not_up_yet_is_not_at_fault(events: tuple[str, ...]) -> None:
    assert unanswered(up(*events)) is None


def test_what_a_life_that_is_over_answered_is_not_held_against_the_next() -> None:
    assert unanswered(up(f"Warning Unhealthy: {UP}/v1/completions answers 500: oh", restarts=1)) is None


ENDED = {"terminated": {"reason": "Completed", "exitCode": 0}}


@pytest.mark.parametrize(
    ("state", "last", "cause", "final"),
    [
        (ENDED, {}, "ended by itself with exit code 0", False),
        ({"running": {}}, ENDED, "ended by itself with exit code 0", False),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, ENDED, "exit code 0 at every start", True),
    ],
)
def test_an_engine_that_ends_with_exit_code_0_is_told(
    state: dict[str, Any], last: dict[str, Any], cause: str, final: bool
) -> None:
    found = explain(PodEvidence(a_pod(scheduled=True, state=state, last=last)))
    assert found is not None
    assert cause in found.cause
    assert found.final is final
    assert "engine.extra_args" in found.next_command
