"""What a rollout will do, from what serves now: planned before anything is applied."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.records.names import MODEL_LABEL, RELEASE_ANNOTATION
from tasks.records.strategy import Strategy
from tasks.releases.records import Failure, ReleaseRecord, Start
from tasks.rollout.context import RolloutContext
from tasks.rollout.manifests import release_of, serving, start_budget_seconds
from tasks.rollout.procedure import announce, prepare, renewed, start_anew, waits_for_others
from tasks.rollout.takeover import Takeover, updated_replicas
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, WEIGHTS, a_cache, a_model, an_environment
from tests.support.heard import Heard
from tests.support.ledgers import a_ledger

WEIGHTS_SERVED = Weights.of(a_cache(), WEIGHTS)
ENVIRONMENT = an_environment()


def documents_of(model: Model) -> list[dict[str, Any]]:
    return serving(ROOT, model, ENVIRONMENT, WEIGHTS_SERVED)


def release_id(model: Model) -> str:
    return release_of(model, ENVIRONMENT, WEIGHTS_SERVED.commit, documents_of(model)).id


def record_of(model: Model) -> ReleaseRecord:
    documents = documents_of(model)
    release = release_of(model, ENVIRONMENT, WEIGHTS_SERVED.commit, documents)
    return renewed(None, release, documents)


def serves(model: Model, **spec: Any) -> dict[str, Any]:
    """The model's Deployment as the cluster has it."""
    [deployment] = [d for d in record_of(model).documents if d["kind"] == "Deployment"]
    return deployment | {
        "spec": deployment["spec"] | {"replicas": 1} | spec,
        "status": {"updatedReplicas": 1},
    }


class Cluster:
    """One GPU node with `gpus`, and a Deployment with one pod on it, or with `pods`; only pods can be deleted."""

    def __init__(self, deployment: dict[str, Any] | None, gpus: int) -> None:
        self.deployment, self.gpus = deployment, gpus
        self.pods: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def delete(self, api: str, kind: str, name: str, namespace: str) -> bool:
        assert (kind, namespace) == ("Pod", "llm")
        self.deleted.append(name)
        return True

    def get(self, api: str, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (kind, name, namespace) == ("Deployment", "vllm-llama", "llm")
        return self.deployment

    def list(self, api: str, kind: str, *_: str, label_selector: str = "") -> list[dict[str, Any]]:
        if kind == "Node":
            return [{"metadata": {"name": "n"}, "status": {"allocatable": {"nvidia.com/gpu": self.gpus}}}]
        assert kind == "Pod"
        if label_selector and self.pods:
            return self.pods
        requests = {"resources": {"requests": {"nvidia.com/gpu": "1"}}}
        claim = {"name": "models", "persistentVolumeClaim": {"claimName": "model-cache-llama"}}
        spec = {"nodeName": "n", "containers": [requests], "volumes": [claim]}
        pod = {"metadata": {"name": "p"}, "spec": spec}
        return [pod] if self.deployment else []


def context_of(deployment: dict[str, Any] | None, heard: Heard, gpus: int = 1) -> RolloutContext:
    cluster: Any = Cluster(deployment, gpus)
    return RolloutContext(ROOT, cluster, ENVIRONMENT, a_ledger(), heard)


def prepared(context: RolloutContext, model: Model, *, green_serves: bool = False) -> Takeover:
    return prepare(context, model, WEIGHTS_SERVED, documents_of(model), green_serves=green_serves)


OLD, NEW = a_model(engine={"max_num_seqs": 7}), a_model(engine={"max_num_seqs": 8})


def test_the_first_release_replaces_nothing(heard: Heard) -> None:
    takeover = prepared(context_of(None, heard), NEW)
    assert (takeover.plan.strategy, takeover.plan.downtime_seconds) == (Strategy.ROLLING, 0.0)
    assert (takeover.unchanged, takeover.last, takeover.previous_release_id) == (False, None, None)
    assert takeover.replicas == 1


def test_another_release_is_planned_for_the_gpus_that_are_free(heard: Heard) -> None:
    assert prepared(context_of(serves(OLD), heard, gpus=2), NEW).plan.strategy is Strategy.SURGE
    assert prepared(context_of(serves(OLD), heard, gpus=1), NEW).plan.strategy is Strategy.RECREATE


def test_the_plan_is_the_strategy_of_the_deployment_that_will_be_applied(heard: Heard) -> None:
    takeover = prepared(context_of(serves(OLD), heard, gpus=1), NEW)
    assert takeover.document("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_the_same_release_goes_on_as_it_began(heard: Heard) -> None:
    begun = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
    takeover = prepared(context_of(serves(NEW, strategy=begun), heard), NEW)
    assert takeover.unchanged
    assert (takeover.plan.strategy, takeover.plan.surge) == (Strategy.SURGE, 2)
    assert takeover.document("Deployment")["spec"]["strategy"] == begun


def test_blue_green_is_not_begun_anew_while_a_green_one_serves(heard: Heard) -> None:
    model = a_model(engine={"max_num_seqs": 8}, rollout={"strategy": "blue-green"})
    context = context_of(serves(OLD), heard, gpus=1)
    with pytest.raises(RolloutFailed, match="blue-green needs 1 GPU free"):
        prepared(context, model)
    assert prepared(context, model, green_serves=True).plan.strategy is Strategy.RECREATE


def test_the_budget_of_the_pods_is_the_load_and_the_start_of_a_pod(heard: Heard) -> None:
    takeover = prepared(context_of(None, heard), NEW)
    assert (
        takeover.budget == start_budget_seconds(WEIGHTS_SERVED, ENVIRONMENT) + ENVIRONMENT.deadlines.pod_start
    )


def test_the_release_before_is_the_one_the_ledger_says_serves(heard: Heard) -> None:
    context = context_of(serves(OLD), heard, gpus=2)
    for model in (OLD, NEW):
        context.ledger.begin(record_of(model))
        context.ledger.proven(record_of(model))
    assert prepared(context, OLD).previous_release_id == release_id(NEW)
    assert prepared(context, NEW).previous_release_id == release_id(OLD)


def test_the_expected_downtime_is_what_the_last_start_took(heard: Heard) -> None:
    context = context_of(serves(OLD), heard, gpus=1)
    start = Start(at=datetime(2025, 1, 1, tzinfo=UTC), cause="rollout", phases={"weights": 40.0})
    context.ledger.begin(record_of(OLD))
    context.ledger.proven(record_of(OLD).with_start(start))
    drain = OLD.engine.drain + OLD.engine.shutdown_timeout
    assert prepared(context, NEW).plan.downtime_seconds == 40.0 + drain


def test_a_release_that_is_rolled_out_again_keeps_its_starts_and_not_its_failure() -> None:
    start = Start(at=datetime(2025, 1, 1, tzinfo=UTC), cause="rollout", phases={})
    before = record_of(NEW).with_start(start).model_copy(update={"failure": Failure(cause="broken")})
    again = renewed(before, before.release, documents_of(NEW))
    assert (again.starts, again.failure, again.report) == ((start,), None, None)
    [deployment] = [d for d in again.documents if d["kind"] == "Deployment"]
    assert deployment["metadata"]["annotations"][RELEASE_ANNOTATION] == before.release.id
    assert deployment["spec"]["selector"]["matchLabels"][MODEL_LABEL] == "llama"


def test_what_will_be_done_is_announced_with_its_reason(heard: Heard) -> None:
    context = context_of(serves(OLD), heard, gpus=2)
    announce(context, prepared(context, NEW))
    [what, how] = heard.lines
    assert what.endswith(" after nothing")
    assert how.startswith("surge: 1 GPU free on n, where the cache volume is")


def test_what_streams_its_weights_is_not_bound_to_the_node_of_the_volume_before(heard: Heard) -> None:
    context = context_of(serves(OLD), heard, gpus=2)
    streamed = Weights(WEIGHTS_SERVED.commit, "", "", WEIGHTS, address="s3://b/p")
    announce(
        context,
        prepare(context, NEW, streamed, serving(ROOT, NEW, ENVIRONMENT, streamed), green_serves=False),
    )
    assert heard.lines[1].startswith("surge: 1 GPU free on the GPU nodes")


def test_a_release_that_is_applied_already_is_announced_as_that(heard: Heard) -> None:
    context = context_of(serves(NEW), heard)
    announce(context, prepared(context, NEW))
    assert heard.lines == [f"release {release_id(NEW)} is applied already: checking it"]


@pytest.mark.parametrize(
    ("status", "replicas"),
    [
        (None, 0),
        ({}, 0),
        ({"observedGeneration": 2, "updatedReplicas": 3}, 0),  # of an earlier spec
        ({"observedGeneration": 3, "updatedReplicas": 1}, 1),
        ({"observedGeneration": 4, "updatedReplicas": 2}, 2),
        ({"observedGeneration": 3}, 0),
    ],
)
def test_updated_replicas_count_once_the_controller_has_seen_the_spec(status: Any, replicas: int) -> None:
    assert updated_replicas({"status": status}, 3) == replicas


def a_release_pod(release: str, *, scheduled: bool, restarts: int = 0) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True" if scheduled else "False"}]
    statuses = [{"name": "vllm", "restartCount": restarts, "state": {}}]
    return {
        "metadata": {"name": f"pod-{release}-{restarts}", "annotations": {RELEASE_ANNOTATION: release}},
        "status": {"conditions": conditions, "containerStatuses": statuses},
    }


@pytest.mark.parametrize(
    ("pods", "waits"),
    [
        ([a_release_pod("r1", scheduled=False), a_release_pod("r2", scheduled=True)], True),
        ([a_release_pod("r1", scheduled=True), a_release_pod("r2", scheduled=True)], False),
        ([a_release_pod("r1", scheduled=False)], False),
        ([a_release_pod("r2", scheduled=True)], False),
        ([a_release_pod("r1", scheduled=False), a_release_pod("r2", scheduled=False)], False),
    ],
)
def test_a_release_waits_for_what_another_one_has(pods: list[dict[str, Any]], waits: bool) -> None:
    assert waits_for_others(pods, "r1") is waits


def test_a_release_that_another_ones_pod_keeps_from_its_gpu_recreates(heard: Heard) -> None:
    """As after a return whose replaced release came up late: a surge would wait for ever."""
    begun = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    context = context_of(serves(NEW, strategy=begun), heard)
    cluster: Any = context.cluster
    cluster.pods = [a_release_pod(release_id(NEW), scheduled=False), a_release_pod("other", scheduled=True)]
    takeover = prepared(context, NEW)
    assert takeover.unchanged
    assert takeover.plan.strategy is Strategy.RECREATE
    assert takeover.document("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_only_a_pod_whose_engine_ended_starts_anew(heard: Heard) -> None:
    context = context_of(serves(NEW), heard)
    cluster: Any = context.cluster
    release = release_id(NEW)
    cluster.pods = [a_release_pod(release, scheduled=True, restarts=n) for n in (0, 3)]
    start_anew(context, serves(NEW), release)
    assert cluster.deleted == [f"pod-{release}-3"]
