"""The states a scale-out and a scale-in pass through, each with its deadline, and the load that causes them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.cloud import objects
from tasks.cloud.autoscaler import HPA_SYNC_SECONDS, obstacle_of
from tasks.drill.observe import Seen
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.load import LengthDistribution, Load
from tasks.records.model import Model

HPA_TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance: within it of the target nothing changes
OVER = 1.5  # of the target: two replicas are asked for, and no third
LOOKS = 3  # of the HPA, one of which may just be over
ANSWER_TOKENS = 256  # long answers: the requests under way stay as many as there are callers
SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class Known:
    """What a drill knew before its load: the first pods and their nodes; `second` and its answers once it is there."""

    environment: Environment
    model: Model
    first: frozenset[str]
    nodes: frozenset[str]
    second: str | None = None
    before: float | None = None

    @property
    def target(self) -> float:
        """Demand at which the HPA asks for another replica than the first ones."""
        return self.model.scaling.requests_per_replica * len(self.first)

    def after(self, seen: Seen) -> Known:
        """With the second replica, and what it had answered when it was first Ready: its start-up probe asks too."""
        if self.second is None or seen.pod(self.second) is None:
            new = sorted(objects.name(pod) for pod in seen.pods if objects.name(pod) not in self.first)
            return replace(self, second=new[0] if new else None, before=None)
        return self

    def having_answered(self, seen: Seen) -> Known:
        return replace(self, before=seen.answered.get(self.second or "", 0.0))


@dataclass(frozen=True)
class Stage:
    """One state: its key, the words it is told by, whether a look shows it, and seconds until it must be reached."""

    key: str
    what: str
    reached: Callable[[Known, Seen], bool]
    seconds: float
    # True: waiting longer changes nothing
    hopeless: Callable[[Known, Seen], bool] = lambda known, seen: False


def scaling_out(model: Model, environment: Environment, loads_within: float) -> list[Stage]:
    """From ready scaler to a second replica that answers. `loads_within`: seconds a replica may load."""
    scaling, scrape, deadlines = model.scaling, environment.scrape_interval, environment.deadlines
    looks = LOOKS * HPA_SYNC_SECONDS + (scaling.polling or 0.0)
    return [
        Stage("scaler", "KEDA and its HPA read the demand", _scaler_is_ready, looks + 4 * scrape, _is_held),
        Stage("demand", "the load is above the target", _is_over, deadlines.pod_start + 5 * scrape + SETTLE_SECONDS),
        Stage(
            "asked",
            "the HPA asks for a second replica",
            lambda known, seen: seen.wanted > len(known.first),
            looks + scaling.scale_up.window + 4 * scrape,
            lambda known, seen: highest(seen) <= len(known.first),
        ),
        Stage("made", "its pod is made", lambda known, seen: known.second is not None, SETTLE_SECONDS),
        Stage("node", "it has a node", lambda known, seen: _node(known, seen) is not None, deadlines.node_boot),
        Stage("running", "its engine runs", _runs, deadlines.pod_start),
        Stage("ready", "it is Ready", lambda known, seen: objects.is_ready(seen.pod(known.second)), loads_within),
        Stage(
            "service",
            "the model's Service sends to it",
            lambda known, seen: known.second in seen.in_service,
            SETTLE_SECONDS,
        ),
        Stage("traffic", "it answers requests", _takes_traffic, 2 * SETTLE_SECONDS + 6 * scrape),
        Stage("drain", "either replica may be evicted", lambda known, seen: not blocking(known, seen), SETTLE_SECONDS),
    ]  # fmt: skip


def scaling_in(model: Model, environment: Environment) -> list[Stage]:
    """From the end of the load to the replicas and nodes there were before."""
    scaling, scrape, deadlines = model.scaling, environment.scrape_interval, environment.deadlines
    looks = LOOKS * HPA_SYNC_SECONDS + (scaling.polling or 0.0)
    grace = model.engine.drain + model.engine.shutdown_timeout
    stages = [
        Stage(
            "calm",
            "the load is below the target",
            lambda known, seen: seen.demand is not None and seen.demand <= known.target * (1 - HPA_TOLERANCE),
            4 * SETTLE_SECONDS + 5 * scrape,
        ),
        Stage(
            "given up",
            "the HPA asks for as many replicas as before",
            lambda known, seen: seen.wanted <= len(known.first),
            looks + scaling.cooldown + scaling.scale_down.every + 4 * scrape,
        ),
        Stage(
            "gone",
            "the replica is gone",
            lambda known, seen: len(seen.pods) <= len(known.first),
            grace + deadlines.drain,
        ),
    ]
    gpu = environment.cluster.gpu
    if gpu.uses_karpenter:
        stages.append(
            Stage(
                "node gone",
                "its node is gone",
                lambda known, seen: len(seen.nodes) <= len(known.nodes),
                gpu.consolidate_after + deadlines.node_boot,
            )
        )
    return stages


def highest(seen: Seen) -> int:
    """The most replicas that the live ScaledObject allows; 100 where it does not say (keda/v2.20.2, apis/keda/v1alpha1)."""
    return int(objects.spec(seen.scaled).get("maxReplicaCount") or 100)


def blocking(known: Known, seen: Seen) -> list[str]:
    """PodDisruptionBudgets of the model's replicas that let none of them be evicted, though several are ready."""
    labels = [objects.labels(pod) for pod in seen.pods]
    return [
        objects.name(budget)
        for budget in seen.budgets
        if any(covers(budget, each) for each in labels)
        and int(objects.status(budget).get("disruptionsAllowed") or 0) < 1
    ]


def covers(budget: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a budget's matchLabels select a pod with these labels; one without selector selects every pod."""
    wanted = (objects.spec(budget).get("selector") or {}).get("matchLabels") or {}
    return bool(wanted.items() <= labels.items())


def _is_held(known: Known, seen: Seen) -> bool:
    """Whether something holds the scaler that does not pass by itself."""
    held = obstacle_of(
        names.workload(known.model), known.environment.namespace, seen.scaled, seen.autoscalers
    )
    return bool(held and held.final)


def _scaler_is_ready(known: Known, seen: Seen) -> bool:
    workload = names.workload(known.model)
    return not obstacle_of(workload, known.environment.namespace, seen.scaled, seen.autoscalers)


def _is_over(known: Known, seen: Seen) -> bool:
    return seen.demand is not None and seen.demand > known.target * (1 + HPA_TOLERANCE)


def _node(known: Known, seen: Seen) -> str | None:
    pod = seen.pod(known.second)
    return objects.node_of(pod) if pod else None


def _runs(known: Known, seen: Seen) -> bool:
    pod = seen.pod(known.second)
    return pod is not None and objects.running_since(pod) is not None


def _takes_traffic(known: Known, seen: Seen) -> bool:
    return known.before is not None and seen.answered.get(known.second or "", 0.0) > known.before


def callers(model: Model) -> int:
    """Callers that bring the demand of one replica to OVER times the target, and no more: each waits for its answer.

    What one engine cannot run at once waits, and a waiting request counts more.
    """
    scaling = model.scaling
    demand, most = OVER * scaling.requests_per_replica, model.engine.max_num_seqs
    if scaling.running_weight * most >= demand or not scaling.waiting_weight:
        return math.ceil(demand / scaling.running_weight)
    waiting = (demand - scaling.running_weight * most) / scaling.waiting_weight
    return most + math.ceil(waiting)


def heavy(model: Model, seconds: float) -> Load:
    """The load that asks for a second replica, of as many callers as that takes."""
    return _of(model, callers(model), seconds)


def light(model: Model, seconds: float) -> Load:
    """One caller, while a replica goes: whether a request fails is seen by it."""
    return _of(model, 1, seconds)


def _of(model: Model, concurrency: int, seconds: float) -> Load:
    tokens = max(1, min(ANSWER_TOKENS, model.engine.max_model_len // 4))
    load = model.asked_load
    return Load.model_validate(
        {
            "arrivals": "closed",
            "concurrency": concurrency,
            "warmup": 0,
            "window": seconds,
            "drain": load.drain,
            "stall": load.stall,
            "prompt_tokens": LengthDistribution(mean=min(32, tokens), stdev=0),
            "output_tokens": LengthDistribution(mean=tokens, stdev=0),
            "endpoint": load.endpoint,
            "streaming": load.streaming,
            "texts": load.texts,
        }
    )


def whole(stages: Sequence[Stage]) -> float:
    """Seconds that all of them take at most."""
    return sum(stage.seconds for stage in stages)
