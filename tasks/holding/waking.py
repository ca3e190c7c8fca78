"""Look at a model in the cluster, and wake it: by its replicas, or by a run of the flow slipway-wake."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from tasks.cloud import objects
from tasks.cloud.flow_runs import FlowRuns
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.scaling import KEDA, resume
from tasks.holding.decide import Seen
from tasks.records.names import EXPECTED_ANNOTATION, WAKE_ANNOTATION

SLICES = ("discovery.k8s.io/v1", "EndpointSlice")
# a run that did not wake the model within it is taken for failed, and another is asked for
FLOW_SECONDS = 900.0
# how often a run's state is asked for; and after one that has ended without a wake, how long until the next
STATE_SECONDS, AGAIN_SECONDS = 10.0, 60.0
ENDED = frozenset({"FAILED", "CRASHED", "CANCELLED"})


@dataclass(frozen=True)
class Wake:
    """A wake as its ScaledObject's annotation tells it. `at`: seconds since 1970; `expected`: seconds of a start, if known."""

    at: float | None
    expected: float | None


@dataclass(frozen=True)
class Asked:
    """The run that was asked for last, for a Deployment of that generation: when, and when its state was asked for."""

    generation: str
    number: int
    at: float
    looked: float

    @property
    def key(self) -> str:
        """By which Prefect makes one run of several asks."""
        return f"{self.generation} {self.number}"


class Waker(Protocol):
    """What the service needs of the cluster. Its calls block, and raise ClusterError."""

    def look(self, model: str) -> Seen:
        """The model's ready pods, or else its replicas."""

    def wake(self, model: str, replicas: int) -> Wake:
        """Ask for replicas. Asking twice is the same as once."""

    def last_wake(self, model: str) -> Wake:
        """What is known of the wake that is under way."""

    def first_token(self, model: str) -> None:
        """Note when the first held request got its first token."""


class ClusterWaker:
    """By the Kubernetes API. `start_run` starts a wake's flow run instead of setting replicas, and says its state."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        now: Callable[[], float],
        start_run: Callable[[str, str], str] | None = None,
    ) -> None:
        self._cluster, self._namespace, self._now, self._start_run = cluster, namespace, now, start_run
        self._asked: dict[str, Asked] = {}

    def look(self, model: str) -> Seen:
        slices = self._cluster.list(
            *SLICES, self._namespace, label_selector=f"kubernetes.io/service-name=vllm-{model}"
        )
        if ready := sorted({address for one in slices for address in ready_addresses(one)}):
            return Seen(ready=ready)
        deployment = self._cluster.get("apps/v1", "Deployment", f"vllm-{model}", self._namespace)
        return Seen(replicas=None if deployment is None else int(objects.spec(deployment).get("replicas", 1)))

    def wake(self, model: str, replicas: int) -> Wake:
        if self._start_run is None:
            self._note(model, self._told())
            resume(self._cluster, self._namespace, f"vllm-{model}", replicas)
        elif asked := self._next_run(model, self._start_run):
            self._note(model, self._told())
            self._start_run(model, asked.key)
            self._asked[model] = asked
        return self.last_wake(model)

    def last_wake(self, model: str) -> Wake:
        notes = objects.annotations(self._cluster.get(*KEDA, f"vllm-{model}", self._namespace))
        told = json.loads(notes.get(WAKE_ANNOTATION, "{}"))
        expected = notes.get(EXPECTED_ANNOTATION)
        at = datetime.fromisoformat(told["at"]).timestamp() if "at" in told else None
        return Wake(at=at, expected=float(expected) if expected else None)

    def first_token(self, model: str) -> None:
        notes = objects.annotations(self._cluster.get(*KEDA, f"vllm-{model}", self._namespace))
        told = json.loads(notes.get(WAKE_ANNOTATION, "{}"))
        if told and "first_token" not in told:
            self._note(model, {**told, "first_token": _written(self._now())})

    def _next_run(self, model: str, state_of: Callable[[str, str], str]) -> Asked | None:
        """The run to ask for now; None where one is under way. `state_of`: asks for a run again, which makes no second one.

        The generation counts changes of the Deployment's spec: it stays while the model sleeps, also for a new process.
        """
        deployment = self._cluster.get("apps/v1", "Deployment", f"vllm-{model}", self._namespace)
        generation = str((deployment or {"metadata": {}})["metadata"].get("generation"))
        asked, now = self._asked.get(model), self._now()
        if asked is None or asked.generation != generation:
            return Asked(generation, 1, now, now)
        if now - asked.looked < STATE_SECONDS:
            return None
        waited = now - asked.at
        if waited >= FLOW_SECONDS or (waited >= AGAIN_SECONDS and state_of(model, asked.key) in ENDED):
            return Asked(generation, asked.number + 1, now, now)
        self._asked[model] = replace(asked, looked=now)
        return None

    def _told(self) -> dict[str, str]:
        return {"at": _written(self._now()), "by": "flow" if self._start_run else "request"}

    def _note(self, model: str, told: dict[str, str]) -> None:
        body = {"metadata": {"annotations": {WAKE_ANNOTATION: json.dumps(told)}}}
        self._cluster.patch(*KEDA, f"vllm-{model}", body, self._namespace)


def ready_addresses(endpoints: dict[str, Any]) -> list[str]:
    """HOST:PORT of an EndpointSlice's ready endpoints. `ready` missing means ready, as in the API's own words."""
    ports = [port["port"] for port in endpoints.get("ports") or () if port.get("port")]
    return [
        f"{address}:{ports[0]}"
        for endpoint in endpoints.get("endpoints") or ()
        if ports and (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


def flow_runs(url: str, environment: str, authorization: str | None) -> Callable[[str, str], str]:
    """What starts a run of slipway-wake, and gives its state's type. Of several asks for the same sleep the key makes one run."""
    prefect = FlowRuns(url, authorization)

    def start(model: str, key: str) -> str:
        return prefect.start(
            "slipway-wake",
            environment,
            {"model": model, "environment": environment},
            f"slipway-wake {environment} {model} {key}",
            otherwise=f"slipway wake {model} -e {environment}",
        ).state

    return start


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
