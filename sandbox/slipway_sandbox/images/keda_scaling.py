"""Decide a target's replicas: KEDA's step between 0 and 1, the HPA's above 1. Pure; clocks are passed in.

Sources: kedacore/keda pkg/scaling/executor/scale_scaledobjects.go, pkg/fallback; kubernetes
pkg/controller/podautoscaler (replica_calculator.go, horizontal.go).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

Object = dict[str, Any]

PAUSED = "autoscaling.keda.sh/paused"
PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
FORCE_ACTIVATION = "autoscaling.keda.sh/force-activation"
COOLDOWN_SECONDS = 300
DOWN_WINDOW_SECONDS = 300  # the HPA's default stabilization of scaling down
TOLERANCE = 0.1
_HISTORY = 4096
_UP = {
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


@dataclass(frozen=True)
class Reading:
    """One trigger's value in the metric's unit, or the `error` it ended with."""

    name: str
    value: float = 0.0
    threshold: float = 1.0
    active: bool = False
    average: bool = True
    error: str | None = None


@dataclass
class ScalerState:
    """The HPA's history of one target: past recommendations and changes with their times."""

    recommendations: deque[tuple[datetime, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    changes: deque[tuple[datetime, int]] = field(default_factory=lambda: deque(maxlen=_HISTORY))


@dataclass
class Verdict:
    """The decision: `replicas` to set (None: no change), the status to write, events as (reason, message)."""

    replicas: int | None = None
    status: Object = field(default_factory=dict)
    events: list[tuple[str, str]] = field(default_factory=list)


def paused_at(item: Object) -> int | str | None:
    """Replicas of a paused ScaledObject; "as-is" when paused without a count, None when not paused."""
    annotations = item["metadata"].get("annotations") or {}
    if PAUSED_REPLICAS in annotations:
        return int(annotations[PAUSED_REPLICAS])
    return "as-is" if annotations.get(PAUSED, "").lower() == "true" else None


def decide_scaling(
    item: Object, scale: Object, readings: Sequence[Reading], state: ScalerState, now: datetime
) -> Verdict:
    """Decide for one ScaledObject whose target's Scale is `scale`."""
    verdict = Verdict()
    conditions = _Conditions(item)
    current = int(scale["spec"].get("replicas") or 0)
    conditions.set(
        "Ready", "True", "ScaledObjectReady", "ScaledObject is defined correctly and is ready for scaling"
    )
    held = paused_at(item)
    if held is not None:
        conditions.set("Paused", "True", "ScaledObjectPaused", "ScaledObject is paused")
        if isinstance(held, int):
            verdict.replicas = held
            verdict.status["pausedReplicaCount"] = held
    else:
        if conditions.status("Paused") == "True":
            conditions.set(
                "Paused", "False", "ScaledObjectUnpaused", "pause annotation removed for ScaledObject"
            )
        health = _health(item, readings)
        if health:
            verdict.status["health"] = health
        _activate_or_scale(verdict, conditions, item, current, readings, health, state, now)
    if verdict.replicas is not None and verdict.replicas != current:
        state.changes.append((now, verdict.replicas - current))
    verdict.status["conditions"] = conditions.all
    return verdict


class _Conditions:
    """KEDA's conditions: type, status, reason, message, always these four in this order."""

    def __init__(self, item: Object) -> None:
        known = {c["type"]: dict(c) for c in (item.get("status") or {}).get("conditions") or []}
        self._by_type = {
            kind: known.get(kind) or {"type": kind, "status": "Unknown"}
            for kind in ("Ready", "Active", "Fallback", "Paused")
        }

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        self._by_type[kind] = {"type": kind, "status": status, "reason": reason, "message": message}

    def status(self, kind: str) -> str:
        return str(self._by_type[kind]["status"])

    @property
    def all(self) -> list[Object]:
        return list(self._by_type.values())


def _activate_or_scale(
    verdict: Verdict,
    conditions: _Conditions,
    item: Object,
    current: int,
    readings: Sequence[Reading],
    health: Object,
    state: ScalerState,
    now: datetime,
) -> None:
    spec = item["spec"]
    minimum, idle = int(spec.get("minReplicaCount") or 0), spec.get("idleReplicaCount")
    failing = any(reading.error is not None for reading in readings)
    falling_back = _falls_back(spec, health)
    if falling_back:
        message = "At least one trigger is falling back on this scaled object"
        conditions.set("Fallback", "True", "FallbackExists", message)
    else:
        message = "No fallbacks are active on this scaled object"
        conditions.set("Fallback", "False", "NoFallbackFound", message)
    forced = (item["metadata"].get("annotations") or {}).get(FORCE_ACTIVATION, "").lower() == "true"
    if forced or any(reading.active for reading in readings) or falling_back:
        why = "activation is being forced by annotation" if forced else "triggers are active"
        conditions.set("Active", "True", "ScalerActive", f"Scaling is performed because {why}")
        verdict.status["lastActiveTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if current == 0 or (idle is not None and current < minimum):
            verdict.replicas = max(minimum, 1)
            active = ";".join(reading.name for reading in readings if reading.active)
            verdict.events.append(
                ("KEDAScaleTargetActivated", _moved("Scaled", item, current, verdict.replicas, active))
            )
            return
        if failing:
            message = "Some triggers defined in ScaledObject are not working correctly"
            conditions.set("Ready", "Unknown", "PartialTriggerError", message)
    else:
        not_active = "Scaling is not performed because triggers are not active"
        conditions.set("Active", "False", "ScalerNotActive", not_active)
        if failing and not spec.get("fallback"):
            message = "Triggers defined in ScaledObject are not working correctly"
            conditions.set("Ready", "False", "TriggerError", message)
        elif not failing and _rests(spec, current):
            if not _cooled_down(item, now):
                message = "Scaler cooling down because triggers are not active"
                conditions.set("Active", "False", "ScalerCooldown", message)
            else:
                verdict.replicas = minimum if idle is None else int(idle)
                moved = _moved("Deactivated", item, current, verdict.replicas, "")
                verdict.events.append(("KEDAScaleTargetDeactivated", moved))
                return
        elif idle is None and current < minimum:
            verdict.replicas = minimum
            return
    if current > 0:
        verdict.replicas = decide_hpa(spec, current, readings, state, now, falling_back=falling_back)


def _moved(verb: str, item: Object, before: int, after: int, triggers: str) -> str:
    reference = item["spec"]["scaleTargetRef"]
    kind = f"{reference.get('apiVersion') or 'apps/v1'}.{reference.get('kind') or 'Deployment'}"
    name = f"{item['metadata']['namespace']}/{reference['name']}"
    tail = f", triggered by {triggers}" if triggers else ""
    return f"{verb} {kind} {name} from {before} to {after}{tail}"


def _rests(spec: Object, current: int) -> bool:
    """Whether an inactive target still has more replicas than its minimum."""
    idle = spec.get("idleReplicaCount")
    if idle is not None:
        return current > int(idle)
    return current > 0 and not spec.get("minReplicaCount")


def _cooled_down(item: Object, now: datetime) -> bool:
    spec = item["spec"]
    last = (item.get("status") or {}).get("lastActiveTime")
    if last is None:
        since, seconds = item["metadata"]["creationTimestamp"], spec.get("initialCooldownPeriod") or 0
    else:
        seconds = spec.get("cooldownPeriod")
        since, seconds = last, COOLDOWN_SECONDS if seconds is None else seconds
    return datetime.fromisoformat(since.replace("Z", "+00:00")) + timedelta(seconds=seconds) < now


def _health(item: Object, readings: Sequence[Reading]) -> Object:
    """Consecutive failures of each trigger; kept only with a fallback, as KEDA does."""
    if not item["spec"].get("fallback"):
        return {}
    old = (item.get("status") or {}).get("health") or {}
    health: Object = {}
    for reading in readings:
        failures = int((old.get(reading.name) or {}).get("numberOfFailures") or 0)
        if reading.error is None:
            health[reading.name] = {"numberOfFailures": 0, "status": "Happy"}
        else:
            health[reading.name] = {"numberOfFailures": failures + 1, "status": "Failing"}
    return health


def _falls_back(spec: Object, health: Object) -> bool:
    limit = int((spec.get("fallback") or {}).get("failureThreshold") or 0)
    return any(h["status"] == "Failing" and h["numberOfFailures"] > limit for h in health.values())


def decide_hpa(
    spec: Object,
    current: int,
    readings: Sequence[Reading],
    state: ScalerState,
    now: datetime,
    *,
    falling_back: bool = False,
) -> int:
    """Decide the HPA's size for a running target: proposal, stabilization, rate limits, bounds."""
    low = max(int(spec.get("minReplicaCount") or 0), 1)
    high = int(spec.get("maxReplicaCount") or 100)
    proposals = [_proposal(reading, current) for reading in readings if reading.error is None]
    failing = any(reading.error is not None for reading in readings)
    if falling_back:
        proposals.append(int(spec["fallback"]["replicas"]))
        failing = False
    proposal = max(proposals, default=current)
    if failing and proposal < current:
        proposal = current  # a metric that is missing might have asked for more
    behavior = ((spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}).get("behavior") or {}
    up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
    proposal = _stabilized(proposal, current, up, down, state, now)
    proposal = _rate_limited(proposal, current, {**_UP, **up}, {**_DOWN, **down}, state, now)
    return min(max(proposal, low), high)


def _proposal(reading: Reading, current: int) -> int:
    target = reading.threshold * (current if reading.average else 1)
    ratio = reading.value / target
    if abs(ratio - 1.0) <= TOLERANCE:
        return current
    return math.ceil(reading.value / reading.threshold if reading.average else ratio * current)


def _stabilized(
    proposal: int, current: int, up: Object, down: Object, state: ScalerState, now: datetime
) -> int:
    """Apply the stabilization windows: scale down to the highest, up to the lowest recommendation within them."""
    up_window = int(up.get("stabilizationWindowSeconds") or 0)
    seconds = down.get("stabilizationWindowSeconds")
    down_window = DOWN_WINDOW_SECONDS if seconds is None else int(seconds)
    if not state.recommendations:
        state.recommendations.append((now, current))  # what runs already counts as recommended
    oldest = now - timedelta(seconds=max(up_window, down_window, 1))
    while state.recommendations and state.recommendations[0][0] < oldest:
        state.recommendations.popleft()
    ups = [r for at, r in state.recommendations if at > now - timedelta(seconds=up_window)]
    downs = [r for at, r in state.recommendations if at > now - timedelta(seconds=down_window)]
    state.recommendations.append((now, proposal))
    lowest, highest = min([proposal, *ups]), max([proposal, *downs])
    if current < lowest:
        return lowest
    return highest if current > highest else current


def _rate_limited(
    proposal: int, current: int, up: Object, down: Object, state: ScalerState, now: datetime
) -> int:
    if proposal == current:
        return current
    rules = up if proposal > current else down
    if rules["selectPolicy"] == "Disabled":
        return current
    limits = [_limit(policy, current, proposal > current, state, now) for policy in rules["policies"]]
    widest = rules["selectPolicy"] == "Max"
    if proposal > current:
        return min(proposal, max(max(limits) if widest else min(limits), current))
    return max(proposal, min(min(limits) if widest else max(limits), current))


def _limit(policy: Object, current: int, growing: bool, state: ScalerState, now: datetime) -> int:
    """The size one scaling policy allows, relative to the size at the start of its period."""
    since = now - timedelta(seconds=int(policy["periodSeconds"]))
    recent = [change for at, change in state.changes if at > since and (change > 0) == growing]
    start = current - sum(recent)
    if policy["type"] == "Pods":
        return start + int(policy["value"]) * (1 if growing else -1)
    share = int(policy["value"]) / 100
    return math.ceil(start * (1 + share)) if growing else math.floor(start * (1 - share))
