"""A simulated cluster that scales: KEDA, HPA, Karpenter and pods by a clock that passes only while the drill sleeps.

It reads the live objects as the real ones do, as far as drills change them: a fault is a change of an object, not a switch.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.waiting import Time
from tasks.drill.observe import Details, Seen
from tasks.drill.scaling import ScalingDrill
from tasks.records.environment import Environment
from tasks.records.load import Load
from tasks.records.model import Model
from tasks.records.quantities import parse_duration
from tasks.records.reports import Distribution, Measured
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_cache
from tests.support.clock import Clock

Object = dict[str, Any]
HPA_SYNC = 15.0


@dataclass
class Jitter:
    """Seconds that each state takes, drawn once a drill."""

    random: random.Random

    def between(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)


@dataclass(frozen=True)
class Sent:
    """A load whose requests failed as `failures` says."""

    failures: dict[str, int]

    def look(self) -> None:
        """It goes on."""

    def measured(self) -> Measured:
        nothing = Distribution(count=0)
        failed = sum(self.failures.values())
        return Measured(
            started_at=datetime.now(UTC), window_seconds=1, achieved_rate=1, requests=100, succeeded=100 - failed,
            failures=self.failures, ttft=nothing, itl=nothing, tpot=nothing, e2e=nothing, output_tokens_per_second=1,
            goodput=None, send_lateness=nothing, loop_lag_p99_ms=0,
        )  # fmt: skip


@dataclass
class World:
    """One model with a replica on a node, and room for two."""

    model: Model
    environment: Environment
    jitter: Jitter
    failures: dict[str, int] = field(default_factory=dict)
    weak: bool = False  # the load is not what was asked for
    clock: Clock = field(default_factory=Clock)
    live: dict[tuple[str, str], Object] = field(default_factory=dict)
    hpas: list[Object] = field(default_factory=list)
    budgets: list[Object] = field(default_factory=list)
    callers: int = 0
    wanted: int = 1
    calm_since: float | None = None
    over_since: float | None = None
    # when each state of the second replica comes, or goes
    comes: dict[str, float] = field(default_factory=dict)
    goes: dict[str, float] = field(default_factory=dict)
    answers: float = 0.0
    _looked: float = 0.0
    _synced: float = 0.0
    _loaded: float = 0.0

    def __post_init__(self) -> None:
        weights = Weights.of(a_cache(snapshot="snapshot-1", size="4Gi"), 1 << 20)
        documents = serving(ROOT, self.model, self.environment, weights)
        self.applied = {(d["kind"], d["metadata"]["name"]): d for d in documents}
        self.live = copy.deepcopy(self.applied)
        consolidate = f"{self.environment.cluster.gpu.consolidate_after:.0f}s"
        self.live["NodePool", "slipway-gpu"] = {
            "metadata": {"name": "slipway-gpu"},
            "spec": {"limits": {"nodes": "2"}, "disruption": {"consolidateAfter": consolidate, "budgets": [{"nodes": "100%", "reasons": ["Empty"]}]}},
        }  # fmt: skip
        self._synced = self.clock.now - self.jitter.between(0, HPA_SYNC)

    @property
    def workload(self) -> str:
        return f"vllm-{self.model.name}"

    def thing(self, kind: str) -> Object:
        return next(thing for (found, _), thing in self.live.items() if found == kind)

    # what the drill sees

    def look(self, at: float) -> Seen:
        self._advance()
        pods = [self._pod("first", {})]
        if self._is("made"):
            pods.append(self._pod("second", {"ready": self._is("ready"), "node": self._is("node")}))
        nodes = ["node-1", *(["node-2"] if self._is("node") or self._is("claimed") else [])]
        return Seen(
            at=at,
            pods=pods,
            nodes=nodes,
            wanted=self.wanted,
            demand=self._truth(),
            scaled=self._scaled(),
            autoscalers=[*([] if self._paused() else [self._hpa()]), *self.hpas],
            in_service=frozenset(p["metadata"]["name"] for p in pods if self._selected(p) and _ready(p)),
            answered={"first": 100.0, "second": self.answers},
            budgets=self.budgets,
        )

    def details(self, second: str | None) -> Details:
        triggers = self.thing("ScaledObject")["spec"]["triggers"][0]["metadata"]
        return Details(
            applied=self.applied,
            live=dict(self.live),
            heard=self._value_of(triggers["query"]),
            pool=self.thing("NodePool"),
            claims=2 if self._is("claimed") else 1,
            nodes=[{"metadata": {"name": name}} for name in ("node-1", "node-2")],
        )

    # the load

    @contextmanager
    def loading(self, name: str, load: Load) -> Iterator[Sent]:
        assert load.concurrency
        self.callers = 1 if self.weak else load.concurrency
        self._loaded = self.clock.now + self.jitter.between(0.5, 6)
        try:
            yield Sent(self.failures)
        finally:
            self.callers = 0
            self._advance()

    # the mechanics

    def _truth(self) -> float | None:
        """What the release's own query gives."""
        return self._value_of(self.thing_applied("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"])

    def thing_applied(self, kind: str) -> Object:
        return next(thing for (found, _), thing in self.applied.items() if found == kind)

    def _value_of(self, query: str) -> float | None:
        labels = {"app": "vllm", "slipway.dev/model": self.model.name}
        selector = self.thing("PodMonitor")["spec"]["selector"]["matchLabels"]
        if not selector.items() <= labels.items() or f'model_name="{self.model.name}"' not in query:
            return None
        running = float(self.callers) if self.clock.now >= self._loaded else 0.0
        return running if "num_requests_running" in query else 0.0

    def _heard(self) -> float | None:
        """What KEDA gets; None where it is an error."""
        metadata = self.thing("ScaledObject")["spec"]["triggers"][0]["metadata"]
        if metadata["serverAddress"] != self.environment.prometheus.address:
            return None
        value = self._value_of(metadata["query"])
        return 0.0 if value is None and metadata["ignoreNullValues"] == "true" else value

    def _paused(self) -> bool:
        return "autoscaling.keda.sh/paused" in (
            self.thing("ScaledObject")["metadata"].get("annotations") or {}
        )

    def _scaled(self) -> Object:
        ready = "True" if self._heard() is not None else "False"
        condition = {"type": "Ready", "status": ready, "reason": "TriggerError", "message": "no answer"}
        return {**self.thing("ScaledObject"), "status": {"hpaName": "hpa", "conditions": [condition]}}

    def _hpa(self) -> Object:
        heard = self._heard()
        state = "True" if heard is not None else "False"
        metrics = [{"external": {"current": {"averageValue": f"{heard:g}"}}}] if heard is not None else []
        fine = {"type": "AbleToScale", "status": "True"}
        return {
            "metadata": {"name": "hpa"},
            "spec": {"scaleTargetRef": {"name": self.workload}},
            "status": {
                "currentMetrics": metrics,
                "conditions": [fine, {"type": "ScalingActive", "status": state}],
            },
        }

    def _advance(self) -> None:
        now = self.clock.now
        while self._synced + HPA_SYNC <= now:
            self._synced += HPA_SYNC
            self._sync(self._synced)
        if self._is("service") and self.callers and self._selected(self._pod("second", {})):
            self.answers += (now - self._looked) * self.jitter.between(0.2, 2)
        self._looked = now

    def _sync(self, at: float) -> None:
        """One look of the HPA."""
        spec = self.thing("ScaledObject")["spec"]
        heard = self._heard()
        if self._paused() or heard is None:
            return
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        threshold = float(spec["triggers"][0]["metadata"]["threshold"])
        over = heard > threshold * 1.1
        self.over_since = (self.over_since or at) if over else None
        self.calm_since = (self.calm_since or at) if not over else None
        most = int(spec["maxReplicaCount"])
        if over and self.wanted < most and _lets(behaviour["scaleUp"], at, self.over_since):
            self.wanted = 2
            self._bring(at)
        if not over and self.wanted > 1 and _lets(behaviour["scaleDown"], at, self.calm_since):
            self.wanted = 1
            self._take(at)

    def _bring(self, at: float) -> None:
        between, limit = self.jitter.between, int(self.thing("NodePool")["spec"]["limits"]["nodes"])
        self.comes = {"made": (at := at + between(0.1, 3))}
        if limit < 2:
            return
        for state, low, high in (("claimed", 0.5, 5), ("node", 1, 30), ("ready", 2, 25), ("service", 0.1, 5)):
            self.comes[state] = (at := at + between(low, high))

    def _take(self, at: float) -> None:
        between, disruption = self.jitter.between, self.thing("NodePool")["spec"]["disruption"]
        gone = at + between(1, 8)
        self.goes = dict.fromkeys(("made", "ready", "service"), gone)
        keeps = disruption["consolidateAfter"] == "Never" or disruption["budgets"][0]["nodes"] == "0"
        if not keeps:
            last = gone + parse_duration(disruption["consolidateAfter"]) + between(1, 15)
            self.goes |= {"claimed": last, "node": last}

    def _is(self, state: str) -> bool:
        came = state in self.comes and self.clock.now >= self.comes[state]
        return came and not (state in self.goes and self.clock.now >= self.goes[state])

    def _pod(self, name: str, states: dict[str, bool]) -> Object:
        labels = {"app": "vllm", "slipway.dev/model": self.model.name}
        if name == "first":
            labels["slot"] = "a"
        ready, node = states.get("ready", name == "first"), states.get("node", name == "first")
        running = [{"state": {"running": {"startedAt": "2026-11-30T00:00:00Z"}}}] if node else []
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": f"node-{name}"} if node else {},
            "status": {"conditions": [{"type": "Ready", "status": str(ready)}], "containerStatuses": running},
        }

    def _selected(self, pod: Object) -> bool:
        selector = self.thing("Service")["spec"]["selector"]
        return bool(selector.items() <= pod["metadata"]["labels"].items())


def _ready(pod: Object) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


def _lets(rule: Object, now: float, since: float | None) -> bool:
    window = float(rule["stabilizationWindowSeconds"])
    return rule["selectPolicy"] != "Disabled" and since is not None and now - since >= window


def a_drill(world: World) -> ScalingDrill:
    return ScalingDrill(world, "r1", world.loading, lambda line: None, Time(world.clock, world.clock.sleep))
