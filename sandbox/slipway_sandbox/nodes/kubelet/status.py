"""From the state of containers to a pod's status: phase and conditions, as the kubelet computes them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slipway_sandbox.apiclient import Object


@dataclass
class ContainerState:
    """What is known of one container; `state` and `last_state` are in the API's form."""

    name: str
    image: str
    image_id: str = ""
    container_id: str = ""
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    restart_count: int = 0
    started: bool = False
    ready: bool = False

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """Of the run that ended, while nothing else runs."""
        terminated = self.state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    def as_status(self) -> Object:
        """The API's ContainerStatus."""
        status = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restart_count,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


def first_states(pod: Object, specs: str, statuses: str) -> list[ContainerState]:
    """Fresh states; restart counts live on where the pod ran before (its node's agent began anew)."""
    before = {s["name"]: s for s in (pod.get("status") or {}).get(statuses) or []}
    waiting = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    made = []
    for spec in pod["spec"].get(specs) or []:
        old = before.get(spec["name"])
        state = ContainerState(spec["name"], spec["image"], state={"waiting": {"reason": waiting}})
        if old and finished:
            state.state, state.last_state = old["state"], old.get("lastState") or {}
            state.restart_count = old["restartCount"]
        elif old and old.get("containerID"):
            state.restart_count = old["restartCount"] + 1
        made.append(state)
    return made


def phase(policy: str, inits: Sequence[ContainerState], containers: Sequence[ContainerState]) -> str:
    """Pending, Running, Succeeded or Failed, by the rules of the kubelet's getPhase."""
    if policy == "Never" and any(init.exit_code not in (None, 0) for init in inits):
        return "Failed"
    initialized = all(init.exit_code == 0 for init in inits)
    if not initialized and not any(c.running or c.exit_code is not None for c in containers):
        return "Pending"
    codes = [c.exit_code for c in containers]
    if any(c.running for c in containers):
        return "Running"
    if any("waiting" in c.state and not c.last_state for c in containers):
        return "Pending"
    if all(code is not None for code in codes) and policy != "Always":
        if all(code == 0 for code in codes):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    return "Running"


def conditions(
    pod: Object,
    old: Sequence[Object],
    *,
    phase: str,
    sandbox_ready: bool,
    inits: Sequence[ContainerState],
    containers: Sequence[ContainerState],
    now: str,
) -> list[Object]:
    """The kubelet's conditions, keeping the transition times in `old` of those that did not change."""
    before = {condition["type"]: condition for condition in old}
    waiting_inits = [c.name for c in inits if c.exit_code != 0]
    unready = [c.name for c in containers if not c.ready]
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    closed = [gate for gate in gates if before.get(gate, {}).get("status") != "True"]
    done = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else ""
    containers_ready = not unready and not done
    why = (
        done or "ContainersNotReady",
        "" if done else f"containers with unready status: [{' '.join(unready)}]",
    )
    why_init = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting_inits)}]")
    ready, why_ready = containers_ready, why
    if containers_ready and closed:
        ready = False
        why_ready = (
            "ReadinessGatesNotReady",
            f'corresponding condition of pod readiness gate "{closed[0]}" does not exist or is not "True".',
        )
    rows = (
        ("PodReadyToStartContainers", sandbox_ready, ("", "")),
        ("Initialized", not waiting_inits, why_init),
        ("Ready", ready, why_ready),
        ("ContainersReady", containers_ready, why),
        ("PodScheduled", True, ("", "")),
    )
    return [_condition(before.get(kind), kind, holds, why, now) for kind, holds, why in rows]


def _condition(previous: Object | None, kind: str, holds: bool, why: tuple[str, str], now: str) -> Object:
    """One condition; its transition time is kept where its status is."""
    status = "True" if holds else "False"
    since = previous["lastTransitionTime"] if previous and previous["status"] == status else now
    found: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    if not holds and why[0]:
        found |= {"reason": why[0], "message": why[1]}
    return found
