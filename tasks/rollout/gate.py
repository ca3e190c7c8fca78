"""The readiness gate: the Deployment is complete, every new pod is healthy, and one completion came back.

Ready is evidence, not a condition (docs/decisions.md): each new pod's `/health` is 200 (the kubelet asks it, which no
network policy can keep from it), `/v1/models` lists the served name and a completion answers, with the API key and
through the gateway that users will take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.rollout.explain import Explanation, Scene, explain
from tasks.rollout.gateway import is_complete
from tasks.rollout.manifests import RELEASE_ANNOTATION
from tasks.spec.errors import RolloutFailed
from tasks.spec.progress import Reporter


def release_pods(pods: Sequence[dict[str, Any]], release_id: str) -> list[dict[str, Any]]:
    """The living pods of one release."""
    return [
        pod
        for pod in pods
        if (pod["metadata"].get("annotations") or {}).get(RELEASE_ANNOTATION) == release_id
        and not pod["metadata"].get("deletionTimestamp")
    ]


def phase_of(pods: Sequence[Mapping[str, Any]]) -> str:
    """Where the slowest new pod is, in one word or two."""
    if not pods:
        return "creating"
    order = ["unscheduled", "image or volume", "loading", "ready"]
    return min((_pod_phase(pod) for pod in pods), key=order.index)


def _conditions(pod: Mapping[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions") or ()}


def _is_scheduled(pod: Mapping[str, Any]) -> bool:
    return _conditions(pod).get("PodScheduled") == "True"


def _pod_phase(pod: Mapping[str, Any]) -> str:
    if _conditions(pod).get("Ready") == "True":
        return "ready"
    if not _is_scheduled(pod):
        return "unscheduled"
    statuses = pod["status"].get("containerStatuses") or [{}]
    return "loading" if "running" in (statuses[0].get("state") or {}) else "image or volume"


def wait_until_complete(
    cluster: Cluster,
    namespace: str,
    workload: str,
    release_id: str,
    *,
    deadline: float,
    patience: float,
    reporter: Reporter,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> list[dict[str, Any]]:
    """The new release's pods, once the Deployment is complete with them.

    Ends early when the evidence says that waiting cannot help, or when a cause that may pass (no free GPU
    yet) has stood for `patience` seconds. Raises RolloutFailed with the explanation.
    """
    said, since, pending = "", clock(), ""
    while True:
        deployment = cluster.get("apps/v1", "Deployment", workload, namespace) or {}
        pods = release_pods(
            cluster.list("v1", "Pod", namespace, label_selector=selector_of(deployment)), release_id
        )
        if is_complete(deployment) and pods:
            return pods
        phase = phase_of(pods)
        if phase != said:
            reporter.say(f"pods of release {release_id}: {phase}")
            said = phase
        found = explain_pods(cluster, pods)
        if (found.cause if found else "") != pending:
            pending, since = (found.cause if found else ""), clock()
        if found and (found.final or clock() - since > patience):
            raise failure(found)
        if clock() >= deadline:
            raise failure(found) if found else over_budget(cluster, namespace, workload, pods)
        sleep(0.25)


def over_budget(
    cluster: Cluster, namespace: str, workload: str, pods: Sequence[dict[str, Any]]
) -> RolloutFailed:
    """Nothing is wrong that can be seen, and the time is over: a slow load is told as that."""
    phase = phase_of(pods)
    evidence = [line for pod in pods for line in evidence_of(cluster, pod)]
    if phase == "loading":
        return RolloutFailed(
            "the model is still loading at the end of its start-up budget",
            evidence=evidence,
            next_command="lower deadlines.cold_read_mib_s in the environment's file: the budget is bytes over that rate",
        )
    return RolloutFailed(
        f"the rollout did not complete within its budget; its pods are still {phase}",
        evidence=evidence,
        next_command=f"kubectl -n {namespace} describe deployment {workload}",
    )


def selector_of(deployment: Mapping[str, Any]) -> str:
    labels = ((deployment.get("spec") or {}).get("selector") or {}).get("matchLabels") or {"app": "vllm"}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def scene_of(cluster: Cluster, pod: dict[str, Any]) -> Scene:
    """What can be seen of one pod now; logs of the last life too where it was restarted."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    restarts = sum(s.get("restartCount", 0) for s in pod.get("status", {}).get("containerStatuses") or ())
    log = cluster.logs(namespace, name, "vllm", tail=60)
    if restarts:
        log = cluster.logs(namespace, name, "vllm", tail=60, previous=True) + log
    scheduled = _is_scheduled(pod)
    claims = () if scheduled else tuple(claim_lines(cluster, pod))
    node = tuple(node_lines(cluster, pod)) if scheduled else ()
    return Scene(pod, tuple(cluster.events(namespace, name)), tuple(log.splitlines()), claims, node)


def node_lines(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """What is wrong with the pod's node; nothing where it is Ready and takes pods."""
    name = str((pod.get("spec") or {}).get("nodeName"))
    node = cluster.get("v1", "Node", name)
    if node is None:
        return [f"node {name} is gone"]
    ready: dict[str, Any] = next(
        (c for c in node["status"].get("conditions") or () if c["type"] == "Ready"), {}
    )
    if ready.get("status") != "True":
        return [f"node {name} is not Ready: {ready.get('reason')}: {ready.get('message')}"]
    taints = [taint["key"] for taint in (node.get("spec") or {}).get("taints") or ()]
    interrupted = [key for key in taints if "spot-itn" in key or "ToBeDeleted" in key]
    return [f"node {name} is being drained: {', '.join(interrupted)}"] if interrupted else []


def claim_lines(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """What the events say of the pod's claims that are not bound: a claim's trouble is told there, not at the pod."""
    namespace, lines = pod["metadata"]["namespace"], []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        claim = cluster.get("v1", "PersistentVolumeClaim", name, namespace) if name else None
        if name and claim and (claim.get("status") or {}).get("phase") != "Bound":
            lines += [f"claim {name}: {line}" for line in cluster.events(namespace, name)]
    return lines


def explain_pods(cluster: Cluster, pods: Sequence[dict[str, Any]]) -> Explanation | None:
    """The first explanation any of the pods gives; pods that are fine are not looked at closely."""
    for pod in pods:
        if _pod_phase(pod) != "ready" and (found := explain(scene_of(cluster, pod))):
            return found
    return None


def evidence_of(cluster: Cluster, pod: dict[str, Any]) -> list[str]:
    scene = scene_of(cluster, pod)
    return [f"pod {pod['metadata']['name']}", *scene.events[-4:], *scene.log[-8:]]


def failure(found: Explanation) -> RolloutFailed:
    return RolloutFailed(found.cause, evidence=found.evidence, next_command=found.next_command)


def check_endpoint(
    base_url: str,
    key: str,
    served_name: str,
    *,
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> str:
    """`/v1/models` lists the name and one completion comes back, with the key; without it the door is shut.

    Routing may trail readiness by up to `patience` seconds: a new load balancer's name, its targets' health.
    Returns the completion's text. Raises RolloutFailed.
    """
    headers = {"Authorization": f"Bearer {key}"}
    deadline = clock() + patience
    with httpx.Client(timeout=httpx.Timeout(30.0, connect=10.0)) as http:
        while True:
            try:
                return _ask(http, base_url, headers, served_name)
            except (RolloutFailed, httpx.HTTPError) as error:
                if isinstance(error, _Final) or clock() >= deadline:
                    if isinstance(error, RolloutFailed):
                        raise
                    raise RolloutFailed(
                        "the gateway does not answer",
                        evidence=[f"{base_url}: {type(error).__name__}: {error}"],
                        next_command=f"curl -i {base_url}/models",
                    ) from error
                sleep(0.3)


class NoWayThrough(RolloutFailed):
    """The gateway answers, and says that it does not get through to vLLM (502, 503 or 504)."""


class _Final(RolloutFailed):
    """Asking again cannot help."""


def _ask(http: httpx.Client, base_url: str, headers: dict[str, str], served_name: str) -> str:
    shut = http.get(f"{base_url}/models")
    if shut.status_code not in (401, 403):
        kind = _Final if shut.status_code == 200 else RolloutFailed
        raise kind(
            f"the gateway answers {shut.status_code} to a request without a key, not 401",
            next_command=f"curl -i {base_url}/models",
        )
    models = http.get(f"{base_url}/models", headers=headers)
    if models.status_code in (502, 503, 504):
        raise NoWayThrough(
            f"the gateway does not reach vLLM: it answers {models.status_code}",
            evidence=[models.text[:300]],
            next_command=f"curl -i {base_url}/models",
        )
    if models.status_code != 200:
        raise RolloutFailed(
            f"/v1/models answers {models.status_code}"
            + (": the gateway or vLLM does not take the API key" if models.status_code == 401 else ""),
            evidence=[models.text[:300]],
            next_command="kubectl get secret slipway-api-key; the gateway and vLLM must have the same one",
        )
    names = [entry["id"] for entry in _entries(models, "data", "/v1/models")]
    if served_name not in names:
        raise _Final(
            f"vLLM serves another name than {served_name}",
            evidence=[f"/v1/models lists {', '.join(names)}"],
            next_command="check --served-model-name in engine.extra_args",
        )
    answer = http.post(
        f"{base_url}/chat/completions",
        headers=headers,
        json={
            "model": served_name,
            "messages": [{"role": "user", "content": "Say one word."}],
            "max_tokens": 8,
            "temperature": 0,
        },
    )
    if answer.status_code != 200:
        raise RolloutFailed(f"a chat completion answers {answer.status_code}", evidence=[answer.text[:300]])
    choice = _entries(answer, "choices", "a chat completion")[0]
    if not choice.get("finish_reason"):
        raise RolloutFailed("a chat completion came back unfinished", evidence=[answer.text[:300]])
    return str(choice["message"]["content"])


def _entries(answer: httpx.Response, key: str, what: str) -> list[dict[str, Any]]:
    """The list under `key` of a JSON answer, never empty. Raises RolloutFailed for a 200 that is none."""
    try:
        found: list[dict[str, Any]] = answer.json()[key]
    except (ValueError, KeyError, TypeError):
        found = []
    if not found:
        raise RolloutFailed(f"{what} answers 200 without {key}", evidence=[answer.text[:300]])
    return found


def start_phases(pod: Mapping[str, Any]) -> dict[str, float]:
    """Seconds from creation to scheduled, from there to running, from there to ready: the start's ledger."""
    created = _time(pod["metadata"]["creationTimestamp"])
    conditions = {
        c["type"]: _time(c["lastTransitionTime"])
        for c in pod["status"].get("conditions") or ()
        if c["status"] == "True" and c.get("lastTransitionTime")
    }
    statuses = pod["status"].get("containerStatuses") or [{}]
    running = ((statuses[0].get("state") or {}).get("running") or {}).get("startedAt")
    marks = [
        ("scheduled", conditions.get("PodScheduled")),
        ("running", _time(running) if running else None),
        ("ready", conditions.get("Ready")),
    ]
    phases, last = {}, created
    for name, at in marks:
        if at is not None:
            phases[name] = max(0.0, (at - last).total_seconds())
            last = at
    return phases


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
