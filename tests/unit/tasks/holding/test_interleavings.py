"""A model goes idle while requests come: whatever the order of the calls, no request is lost.

The code of both sides runs (`to_zero` of the idle flow, the holder's look, decision and wake) over one API, beside the
controllers that act on it. Each call is a step, and a seeded choice says whose step is next.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from greenlet import greenlet  # type: ignore[import-untyped]

from tasks.cloud.scaling import PAUSED
from tasks.cloud.waiting import Time
from tasks.holding.decide import Action, decide
from tasks.holding.waking import ClusterWaker
from tasks.idle.scale import to_zero
from tests.support.builders import a_model, an_environment
from tests.support.heard import Heard

INTERLEAVINGS = 1000
MOST_STEPS = 3000
REQUESTS = 3


@dataclass
class World:
    """The cluster: one model that is awake. `pod`: absent, starting, ready or draining; `new`: its successor meanwhile."""

    replicas: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    pods: list[str] = field(default_factory=lambda: ["ready"])
    in_flight: int = 0
    answered: int = 0
    wakes: int = 0
    seen: set[str] = field(default_factory=set)

    def is_ready(self) -> bool:
        return "ready" in self.pods


class Api:
    """The calls of `tasks.cloud.kubernetes.Cluster` that both sides make. Each is one step."""

    def __init__(self, world: World, step: Callable[[], None]) -> None:
        self.world, self._step = world, step

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Any:
        self._step()
        if kind == "ScaledObject":
            return {"metadata": {"name": name, "annotations": dict(self.world.annotations)}}
        return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": self.world.replicas}}

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Any:
        self._step()
        if kind == "EndpointSlice":
            endpoints = [{"addresses": ["10.0.0.1"]}] if self.world.is_ready() else []
            return [{"ports": [{"port": 8000}], "endpoints": endpoints}]
        return [
            {"metadata": {"name": f"pod-{number}"}, "status": {"phase": "Running"}}
            for number, _ in enumerate(self.world.pods)
        ]

    def patch(
        self, api: str, kind: str, name: str, body: Any, namespace: str = "", subresource: str = ""
    ) -> Any:
        self._step()
        if subresource == "scale":
            wanted = body["spec"]["replicas"]
            self.world.wakes += wanted > self.world.replicas
            self.world.replicas = wanted
        for key, value in body.get("metadata", {}).get("annotations", {}).items():
            if value is None:
                self.world.annotations.pop(key, None)
            else:
                self.world.annotations[key] = value
        return {}


def kubernetes(world: World, step: Callable[[], None]) -> None:
    """The Deployment's controller and the kubelet: a pod that goes leaves the endpoints first, then ends what it has."""
    while True:
        step()
        staying = [pod for pod in world.pods if pod != "draining"]
        if "draining" in world.pods and not world.in_flight:
            world.pods.remove("draining")
        elif len(staying) > world.replicas:
            world.pods[world.pods.index(staying[0])] = "draining"
        elif len(staying) < world.replicas:
            world.pods.append("starting")
        elif "starting" in world.pods:
            world.pods[world.pods.index("starting")] = "ready"


def keda(world: World, step: Callable[[], None]) -> None:
    """Scales to what the annotation says, else to its minimum of one; by what it read a step before."""
    while True:
        step()
        paused = world.annotations.get(PAUSED)
        step()
        world.replicas = int(paused) if paused is not None else max(1, world.replicas)


def request(world: World, api: Api, step: Callable[[], None]) -> None:
    """NGINX, then the holder as its Sleeper does it."""
    step()
    if world.is_ready():
        world.seen.add("passed")
        _answered_by_a_pod(world, step)
        return
    world.seen.add("held")
    holder = ClusterWaker(api, "llm", lambda: 0.0)  # type: ignore[arg-type]
    while True:
        action = decide(holder.look("llama"))
        if action is Action.WAKE:
            world.seen.add("woken")
            holder.wake("llama", 1)
        elif action is Action.RELEASE:
            step()
            if world.is_ready():  # else the connection is refused: nothing was sent
                _answered_by_a_pod(world, step)
                return
            world.seen.add("refused")
        step()


def _answered_by_a_pod(world: World, step: Callable[[], None]) -> None:
    world.in_flight += 1
    step()
    world.in_flight -= 1
    world.answered += 1


def played(seed: int) -> World:
    """One interleaving, until the idle flow and every request have ended. Raises AssertionError where one does not."""
    world, chance = World(), random.Random(seed)
    main = greenlet.getcurrent()

    def step() -> None:
        main.switch()

    api = Api(world, step)
    time = Time(lambda: 0.0, lambda _: step())
    heard = Heard()
    cluster: Any = api
    model = a_model(scaling={"scale_to_zero": True})
    ending = [
        greenlet(lambda: to_zero(cluster, model, an_environment(), heard, time=time)),
        *(greenlet(lambda: request(world, api, step)) for _ in range(REQUESTS)),
    ]
    lasting = [greenlet(lambda: kubernetes(world, step)), greenlet(lambda: keda(world, step))]
    for _ in range(MOST_STEPS):
        # an actor may be slow for long: it is chosen by a weight of its own
        left = [one for one in ending if not one.dead]
        if not left:
            world.seen |= set(heard.lines)
            return world
        everyone = [*left, *lasting]
        chance.choice(everyone).switch()
    raise AssertionError(
        f"seed {seed}: after {MOST_STEPS} steps {world.answered} of {REQUESTS} requests are answered: {world}"
    )


def test_no_request_is_lost_in_a_thousand_interleavings() -> None:
    seen: set[str] = set()
    for seed in range(INTERLEAVINGS):
        world = played(seed)
        assert world.answered == REQUESTS, f"seed {seed}"
        seen |= world.seen
    # the cases that matter came about: else this shows nothing
    assert seen >= {
        "passed",
        "held",
        "woken",
        "refused",
        "llama: no replica is left",
        "llama: a request came and woke it: its nodes stay",
    }
