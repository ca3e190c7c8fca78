"""The readiness gate: the Deployment is complete, every new pod has answered, and one completion came back.

Ready is evidence, not a condition (docs/decisions.md). Each new pod has to answer `/health`, list the served name in
`/v1/models` and complete one token, with the API key, before it is Ready: its start-up probe asks (k8s/serving/
deployment.yaml), which no network policy can keep from it. Then the same is asked through the gateway users will take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import RolloutFailed
from tasks.records.progress import Reporter
from tasks.rollout.explain import Explanation, Scene, explain
from tasks.rollout.gateway import is_complete
from tasks.rollout.manifests import RELEASE_ANNOTATION
from tasks.rollout.start import LOADING, loading_phase


def release_pods(pods: Sequence[dict[str, Any]], release_id: str) -> list[dict[str, Any]]:
    """The living pods of one release. One that has ended (evicted, or refused by its node) stays listed, and another
    was made in its place."""
    return [
        pod
        for pod in pods
        if (pod["metadata"].get("annotations") or {}).get(RELEASE_ANNOTATION) == release_id
        and not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
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
    first: int = 0,
    group: Callable[[], tuple[str, ...]] = tuple,
) -> list[dict[str, Any]]:
    """The new release's pods, once the Deployment is complete with them, or the `first` so many are Ready.

    Ends early when the evidence says that waiting cannot help, or when a cause that may pass (no free GPU
    yet) has stood for `patience` seconds; `group` says what ails the node group. Raises RolloutFailed with the explanation.
    """
    said, since, pending = "", clock(), ""
    while True:
        deployment = cluster.get("apps/v1", "Deployment", workload, namespace) or {}
        pods = release_pods(
            cluster.list("v1", "Pod", namespace, label_selector=selector_of(deployment)), release_id
        )
        ready = [pod for pod in pods if _pod_phase(pod) == "ready"]
        if (is_complete(deployment) and pods) or 0 < first <= len(ready):
            return ready if first else pods
        scenes = [scene_of(cluster, pod, group) for pod in pods if pod not in ready]
        phase = progress_of(pods, scenes)
        if phase != said:
            reporter.say(f"pods of release {release_id}: {phase}")
            said = phase
        found = explain_scenes(scenes)
        if (found.cause if found else "") != pending:
            pending, since = (found.cause if found else ""), clock()
        if found and (found.final or clock() - since > patience):
            raise failure(found)
        if clock() >= deadline:
            raise failure(found) if found else over_budget(cluster, namespace, workload, pods)
        sleep(0.25)


def progress_of(pods: Sequence[Mapping[str, Any]], scenes: Sequence[Scene]) -> str:
    """Where the slowest new pod is; of one that waits, for what; of one that loads, what its log says it does."""
    phase = phase_of(pods)
    if phase == "image or volume":
        waits = [waits_for(scene.events) for scene in scenes if _pod_phase(scene.pod) == phase]
        return min(waits, key=WAITS.index, default=phase)
    if phase != "loading":
        return phase
    loads = [loading_phase(scene.log) for scene in scenes if _pod_phase(scene.pod) == "loading"]
    return min(loads, key=LOADING.index, default=phase)


WAITS = ("waiting for its volume", "pulling its image", "creating its container")


def waits_for(events: Sequence[str]) -> str:
    """What keeps a scheduled pod from running, by its events: the kubelet mounts its volumes before it pulls. Pure."""
    reasons = {line.partition(":")[0].rpartition(" ")[2] for line in events}
    return WAITS[2] if "Pulled" in reasons else WAITS[1] if "Pulling" in reasons else WAITS[0]


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


def scene_of(cluster: Cluster, pod: dict[str, Any], group: Callable[[], tuple[str, ...]] = tuple) -> Scene:
    """What can be seen of one pod now; logs of the last life too where it was restarted."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    restarts = sum(s.get("restartCount", 0) for s in pod.get("status", {}).get("containerStatuses") or ())
    log = cluster.logs(namespace, name, "vllm", tail=100)
    if restarts:
        log = cluster.logs(namespace, name, "vllm", tail=60, previous=True) + log
    scheduled = _is_scheduled(pod)
    claims = () if scheduled else tuple(claim_lines(cluster, pod))
    node = tuple(node_lines(cluster, pod)) if scheduled else ()
    events, ailing = tuple(cluster.events(namespace, name)), () if scheduled else group()
    return Scene(pod, events, tuple(log.splitlines()), claims, node, ailing)


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
        if "ephemeral" in volume:  # the claim made for this pod is called so
            name = f"{pod['metadata']['name']}-{volume['name']}"
        claim = cluster.get("v1", "PersistentVolumeClaim", name, namespace) if name else None
        if name and claim and (claim.get("status") or {}).get("phase") != "Bound":
            lines += [f"claim {name}: {line}" for line in cluster.events(namespace, name)]
    return lines


def explain_pods(cluster: Cluster, pods: Sequence[dict[str, Any]]) -> Explanation | None:
    """The first explanation any of the pods gives; pods that are fine are not looked at closely."""
    return explain_scenes([scene_of(cluster, pod) for pod in pods if _pod_phase(pod) != "ready"])


def explain_scenes(scenes: Sequence[Scene]) -> Explanation | None:
    for scene in scenes:
        if found := unanswered(scene) or explain(scene):
            return found
    return None


def unanswered(scene: Scene) -> Explanation | None:
    """A pod that came up and does not answer as it must: what its start-up probe was told last. Pure."""
    statuses = scene.pod.get("status", {}).get("containerStatuses") or [{}]
    if statuses[0].get("restartCount"):
        return None  # those words may be of its last life, and why that ended says more
    said = [line.partition(UP)[2] for line in scene.events if UP in line]
    if not said:
        return None
    metadata = scene.pod["metadata"]
    name = "/v1/models lists" in said[-1]
    return Explanation(
        "vLLM serves another name than it was asked to"
        if name
        else "vLLM is up and does not answer as it must",
        (f"pod {metadata['name']}", said[-1], *scene.log[-5:]),
        "check --served-model-name in engine.extra_args"
        if name
        else f"kubectl -n {metadata['namespace']} logs {metadata['name']}",
        final=name,
    )


UP = "Startup probe failed: vLLM is up, but "  # the words of the probe in k8s/serving/deployment.yaml


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
