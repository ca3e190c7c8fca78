"""Look at all that a drill judges by: the scaler, the replicas, their nodes and endpoints, and what Prometheus has of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.cloud import karpenter, objects
from tasks.cloud.autoscaler import HPA
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.prometheus import Prometheus
from tasks.cloud.scaling import KEDA
from tasks.records import names
from tasks.records.environment import Environment
from tasks.records.errors import MetricsUnavailable
from tasks.records.model import Model
from tasks.rollout.evidence import claim_lines

FINISHED = "vllm:request_success_total"


@dataclass(frozen=True)
class Seen:
    """One look. Pods: the model's, those that stay; `answered`: requests each has finished, by its name.

    `demand`: what the release's own query gives at the environment's Prometheus; None where it has no series, or no answer:
    `unanswered` has Prometheus' own words then.
    """

    at: float
    pods: Sequence[Object]
    nodes: Sequence[str]
    wanted: int
    demand: float | None
    scaled: Object | None = None
    autoscalers: Sequence[Object] = ()
    in_service: frozenset[str] = frozenset()
    answered: Mapping[str, float] = field(default_factory=dict)
    budgets: Sequence[Object] = ()  # PodDisruptionBudgets of the namespace
    unanswered: Sequence[str] = ()

    def pod(self, name: str | None) -> Object | None:
        return next((pod for pod in self.pods if objects.name(pod) == name), None)


@dataclass(frozen=True)
class Details:
    """What is read only where a promise was not kept: live objects beside those the release applied, and events."""

    applied: Mapping[tuple[str, str], Object]
    live: Mapping[tuple[str, str], Object | None]
    heard: float | None = None  # what KEDA's own query gives at the environment's Prometheus
    unheard: Sequence[str] = ()  # what Prometheus says where it does not answer that query
    events: Sequence[str] = ()
    claims_say: Sequence[str] = ()  # events of the pod's claims that are not bound
    refusals: Sequence[str] = ()
    pool: Object | None = None
    claims: int = 0
    nodes: Sequence[Object] = ()
    on_nodes: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # pods on each GPU node that are no DaemonSet's


@dataclass(frozen=True)
class Place:
    """Where a drill looks, and the release whose documents count."""

    cluster: Cluster
    prometheus: Prometheus
    environment: Environment
    model: Model
    documents: Sequence[Mapping[str, Any]]

    @property
    def namespace(self) -> str:
        return self.environment.namespace

    @property
    def workload(self) -> str:
        return names.workload(self.model)

    @property
    def query(self) -> str:
        """The release's own query of demand."""
        scaled = next(one for one in self.documents if one["kind"] == "ScaledObject")
        return str(scaled["spec"]["triggers"][0]["metadata"]["query"])

    def look(self, at: float) -> Seen:
        """Look once. Raises ClusterError; where Prometheus does not answer there is no demand."""
        cluster, space = self.cluster, self.namespace
        deployment = cluster.get("apps/v1", "Deployment", self.workload, space)
        listed = cluster.list("v1", "Pod", space, label_selector=names.serving_selector(self.model))
        demand, unanswered = self.value(self.query)
        return Seen(
            at=at,
            pods=objects.staying(listed),
            nodes=[objects.name(node) for node in objects.gpu_nodes(cluster, self.environment)],
            wanted=int(objects.spec(deployment).get("replicas", 0)),
            demand=demand,
            unanswered=unanswered,
            scaled=cluster.get(*KEDA, self.workload, space),
            autoscalers=cluster.list(*HPA, space),
            in_service=self._in_service(),
            answered=self._answered(),
            budgets=cluster.list("policy/v1", "PodDisruptionBudget", space),
        )

    def value(self, query: str) -> tuple[float | None, Sequence[str]]:
        """The value of an instant query of one series, None where it has none; and the error where there is no answer."""
        try:
            found = self.prometheus.instant(query)
        except MetricsUnavailable as error:
            return None, (error.cause, *error.evidence)
        return (found[0].samples[-1][1] if found else None), ()

    def _answered(self) -> dict[str, float]:
        labels = f'{{namespace="{self.namespace}",model_name="{self.model.name}"}}'
        try:
            found = self.prometheus.instant(f"sum by (pod) ({FINISHED}{labels})")
        except MetricsUnavailable:
            return {}
        return {series.labels.get("pod", ""): series.samples[-1][1] for series in found}

    def _in_service(self) -> frozenset[str]:
        """The pods that are ready endpoints of the model's Service."""
        selector = f"kubernetes.io/service-name={self.workload}"
        slices = self.cluster.list("discovery.k8s.io/v1", "EndpointSlice", self.namespace, selector)
        return frozenset(
            str((endpoint.get("targetRef") or {}).get("name"))
            for each in slices
            for endpoint in each.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready")
        )

    def details(self, second: str | None) -> Details:
        """Read what explains a promise that was not kept. `second`: the pod that should have come, where it is there."""
        cluster, space = self.cluster, self.namespace
        applied = {(str(one["kind"]), str(one["metadata"]["name"])): dict(one) for one in self.documents}
        live = {
            key: cluster.get(str(one["apiVersion"]), key[0], key[1], space) for key, one in applied.items()
        }
        pods = cluster.list("v1", "Pod")
        mine = [pod for pod in pods if objects.name(pod) == second]
        heard, unheard = self._heard(live.get(("ScaledObject", self.workload)))
        karpenters = self.environment.cluster.gpu.uses_karpenter
        return Details(
            applied=applied,
            live=live,
            heard=heard,
            unheard=unheard,
            events=self._events(second),
            claims_say=[line for pod in mine for line in claim_lines(cluster, pod)],
            refusals=karpenter.refusals(cluster, mine, _made(mine)) if karpenters and mine else [],
            pool=cluster.get(*karpenter.POOL_KIND, karpenter.POOL) if karpenters else None,
            claims=_of_pool(karpenter.claims(cluster)) if karpenters else 0,
            nodes=objects.gpu_nodes(cluster, self.environment),
            on_nodes=_on_nodes(pods),
        )

    def _heard(self, scaled: Object | None) -> tuple[float | None, Sequence[str]]:
        triggers = objects.spec(scaled).get("triggers") or [{}]
        query = (triggers[0].get("metadata") or {}).get("query")
        return self.value(str(query)) if query else (None, ())

    def _events(self, second: str | None) -> list[str]:
        """Of the pod, or of the ReplicaSets that cannot make one."""
        if second:
            return list(self.cluster.events(self.namespace, second))
        sets = self.cluster.list("apps/v1", "ReplicaSet", self.namespace, names.serving_selector(self.model))
        return [line for one in sets for line in self.cluster.events(self.namespace, objects.name(one))]


def _of_pool(claims: Sequence[Object]) -> int:
    """Those of the pool that grows with load."""
    return sum(objects.labels(claim).get(karpenter.POOL_LABEL) == karpenter.POOL for claim in claims)


def _made(pods: Sequence[Object]) -> str:
    return min((str(pod["metadata"]["creationTimestamp"]) for pod in pods), default="")


def _on_nodes(pods: Sequence[Object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pod in objects.living(pods):
        owners = {str(owner["kind"]) for owner in pod["metadata"].get("ownerReferences") or ()}
        if (node := objects.node_of(pod)) and "DaemonSet" not in owners:
            found.setdefault(node, []).append(f"{pod['metadata']['namespace']}/{objects.name(pod)}")
    return found
