"""Releases that take over from each other on a node of four GPUs, with callers who never stop asking."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from slipway_sandbox.testing import EksCluster, Faults, Sandbox, make_models

from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import Interrupted, RolloutFailed
from tasks.records.model import Model
from tasks.records.results import WarmCache
from tasks.releases.ledger import Ledger
from tasks.releases.records import ReleaseRecord
from tasks.rollout import bluegreen, gateway, restore, rollout
from tasks.rollout.manifests import load
from tasks.rollout.place import Place
from tests.support.builders import ROOT, a_cache, a_model, an_environment
from tests.support.callers import Callers, calling
from tests.support.clouds import aws_over
from tests.support.heard import Heard
from tests.support.workloads import Document, claim, device_plugin, phase, wait

NAMESPACE, IMAGE = "llm", "vllm/vllm-openai:v0.32.0"
ON = {"nodeSelector": {"workload": "four"}, "tolerations": [{"operator": "Exists"}]}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def faulty(sandbox: Sandbox) -> Faults:
    return sandbox.faults


@pytest.fixture(scope="module")
def four(eks: EksCluster, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster with a node of four GPUs, a system node, and the weights of a tiny Llama on a volume."""
    eks.add_gpu_nodes("four", "g5.12xlarge", workload="four")
    eks.add_nodes("system", "m6i.large")
    eks.add_addon("snapshot-controller")
    charts = ROOT / "sandbox/charts"
    cluster.apply(yaml.safe_load((charts / "kube-prometheus-stack/crds/podmonitors.yaml").read_text()))
    cluster.apply(_scaled_objects())
    cluster.apply(device_plugin(ON))
    cluster.apply(_storage_class("waits"))
    cluster.apply(_storage_class("clones"))
    cluster.apply(load(ROOT, "serving/serviceaccount.yaml"))
    cluster.apply(claim("weights"))
    models = make_models(tmp_path_factory.mktemp("hub"))
    cluster.apply(_writer(f"cp -r {models / 'tiny-llama' / 'main'} /models/tiny"))
    wait(lambda: phase(cluster, "writer") == "Succeeded")
    cluster.delete("v1", "Pod", "writer", NAMESPACE)
    wait(
        lambda: "4" in {n["status"]["allocatable"].get("nvidia.com/gpu") for n in cluster.list("v1", "Node")}
    )
    return cluster


def _storage_class(name: str) -> Document:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3"},
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _scaled_objects() -> Document:
    """KEDA's definition without KEDA: nothing scales here but the tests."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _writer(script: str) -> Document:
    container = {
        "name": "copy",
        "image": "public.ecr.aws/docker/library/busybox:1.37",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "cache", "mountPath": "/models"}],
    }
    volume = {"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "writer", "namespace": NAMESPACE},
        "spec": {**ON, "restartPolicy": "Never", "containers": [container], "volumes": [volume]},
    }


class Life:
    """One model's releases, one after the other."""

    def __init__(self, api: Cluster, bucket: str, s3: Any, cache: WarmCache, **model: Any) -> None:
        self.api, self.cache, self.heard = api, cache, Heard()
        self.name = f"m-{uuid.uuid4().hex[:8]}"
        self.model: dict[str, Any] = {
            "name": self.name,
            "engine": {"max_model_len": 1024, "image": IMAGE, "drain": "1s", "shutdown_timeout": "10s"},
            "resources": {"cpu": "100m", "memory": "1Gi"},
            **model,
        }
        environment = an_environment(
            cluster={"gpu": {"label_value": "four"}},
            gateway={"drain": "1s"},
            deadlines={"pod_start": "30s", "gateway": "20s"},
        )
        ledger = Ledger(s3, bucket, environment.name, self.name)
        self.shown: dict[str, list[dict[str, Any]]] = {}
        self.place = Place(ROOT, api, environment, ledger, self.heard, show=self.show)
        self.number = 1

    def show(self, key: str, rows: Any, title: str) -> None:
        self.shown[key] = [dict(row) for row in rows]

    @property
    def workload(self) -> str:
        return f"vllm-{self.name}"

    def a_release(self, **over: Any) -> Model:
        """The next release: other flags, and `over`."""
        self.number += 1
        engine = self.model["engine"] | {"max_num_seqs": 100 + self.number}
        return a_model(**{**self.model, "engine": engine, **over})

    def roll_out(self, **over: Any) -> ReleaseRecord:
        record = rollout.roll_out(self.place, self.a_release(**over), self.cache, 1 << 20)
        self.place.ledger.proven(record)
        assert record.rollout
        return record

    def fails(self, match: str, **over: Any) -> ReleaseRecord:
        """A release that does not pass its gate, undone as the flow does it; its record."""
        model = self.a_release(**over)
        with pytest.raises(RolloutFailed, match=match):
            rollout.roll_out(self.place, model, self.cache, 1 << 20)
        rolling = self.place.ledger.serving().rolling
        assert rolling
        restore.undo(self.place, model)
        return self.place.ledger.record(rolling)

    @property
    def serving(self) -> str | None:
        return self.place.ledger.serving().serving

    def calling(self) -> Any:
        assert self.serving
        record = self.place.ledger.record(self.serving).rollout
        assert record
        key = gateway.read_key(self.api, NAMESPACE, "slipway-api-key")
        return calling(record.endpoint.base_url, key, self.name)

    def green(self) -> Document | None:
        return self.api.get("apps/v1", "Deployment", f"green-{self.workload}", NAMESPACE)

    def applied(self) -> str:
        """The release the model's own Deployment has."""
        found = self.place.workload(self.workload) or {}
        return str(found["metadata"]["annotations"]["slipway.dev/release"])

    def selector(self) -> str:
        service = self.api.get("v1", "Service", self.workload, NAMESPACE) or {}
        return str(service["spec"]["selector"]["slipway.dev/model"])

    def end(self) -> None:
        for name in (self.workload, f"green-{self.workload}"):
            self.api.delete("apps/v1", "Deployment", name, NAMESPACE, propagation="Foreground")
        wait(lambda: not self.place.workload(self.workload) and not self.green())


Make = Callable[..., Life]


@pytest.fixture(scope="module")
def make(four: Cluster, sandbox: Sandbox, faulty: Faults) -> Iterator[Make]:
    s3 = aws_over(sandbox).client("s3")
    s3.create_bucket(Bucket="rollouts")
    made: list[Life] = []

    def start(cache: WarmCache | None = None, **model: Any) -> Life:
        cache = cache or a_cache(claim="weights", path="tiny")
        made.append(Life(four, "rollouts", s3, cache, **model))
        return made[-1]

    yield start
    faulty.clear()
    for one in made:
        one.end()


@pytest.fixture(scope="module")
def one(make: Make) -> Life:
    """A model of one replica that serves, on the one claim."""
    life = make()
    life.roll_out()
    return life


@pytest.fixture(autouse=True)
def nothing_is_left_over(faulty: Faults) -> Iterator[None]:
    yield
    faulty.clear()


def heard(life: Life, words: str) -> bool:
    return any(words in line for line in life.heard.lines)


def all_answered(callers: Callers) -> None:
    assert not callers.failures, "\n".join(callers.failures[:5])
    assert len(callers.answers) > 20


def test_an_upgrade_with_a_spare_gpu_drops_no_request(one: Life) -> None:
    with one.calling() as callers:
        told = one.roll_out().rollout
    all_answered(callers)
    assert told
    assert (told.strategy, told.gap_seconds, told.expected_gap_seconds) == ("RollingUpdate", 0.0, 0.0)
    assert heard(one, "3 GPU free on")
    assert heard(one, "every question was answered, measured at the gateway; expected: none")


def test_the_gap_of_a_recreate_is_measured_beside_what_was_expected(one: Life) -> None:
    with one.calling() as callers:
        told = one.roll_out(rollout={"strategy": "recreate"}).rollout
        time.sleep(1.0)
    assert told
    assert told.strategy == "Recreate"
    assert callers.failures
    assert told.gap_seconds
    assert told.gap_seconds == pytest.approx(callers.longest_gap, abs=2.0)
    assert told.expected_gap_seconds > 0
    assert heard(one, "downtime: nobody answered for ")


def test_a_start_is_told_in_its_phases_and_beside_the_last(one: Life) -> None:
    last, record = one.roll_out(), one.roll_out()
    [first], [second] = last.starts, record.starts
    assert {
        "scheduled",
        "image",
        "container",
        "engine",
        "weights",
        "compile",
        "server",
        "first token",
        "ready",
    } <= set(second.phases)
    assert second.phases["weights"] > 0.5
    assert heard(one, ": loading")
    assert heard(one, f"cold start of release {record.release.id}: scheduled ")
    assert [row["phase"] for row in one.shown[f"start-{one.name}"]] == [*second.phases, "in all"]
    assert one.shown[f"start-{one.name}"][-1]["last time"] == f"{sum(first.phases.values()):.1f}"
    kept = one.place.ledger.record(record.release.id).starts
    assert [start.phases for start in kept] == [second.phases]


def test_a_start_that_is_slower_than_the_last_is_said(one: Life, faulty: Faults) -> None:
    faulty.set("engine-slow-load", value=4, count=1)
    one.roll_out()
    assert heard(one, "slower than the last start by more than 25%: weights ")
    assert heard(one, "slower than the last start by more than 25%: the whole start ")


def test_what_will_be_done_is_said_before_anything_moves(one: Life) -> None:
    model, before = one.a_release(rollout={"strategy": "recreate"}), one.applied()
    one.heard.lines.clear()
    refusing: Any = Refuses(one.place.cluster)
    with pytest.raises(Moved):
        rollout.roll_out(replace(one.place, cluster=refusing), model, one.cache, 1 << 20)
    assert heard(one, "Recreate: asked for; expected downtime: about ")
    plan = {row["what"]: row["plan"] for row in one.shown[f"rollout-{one.name}"]}
    assert (plan["strategy"], plan["why"], plan["first (canary)"]) == ("Recreate", "asked for", "none")
    assert one.applied() == before
    restore.undo(one.place, model)


class Moved(Exception):
    """The first write there was."""


class Refuses:
    """The cluster, until something is written to it."""

    def __init__(self, api: Cluster) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        if name in ("apply", "patch", "delete"):
            raise Moved
        return getattr(self._api, name)


def test_a_release_checked_again_keeps_its_proof_and_its_starts_when_the_run_dies(one: Life) -> None:
    before = one.roll_out()
    one.number -= 1
    refusing: Any = Refuses(one.place.cluster)
    with pytest.raises(Moved):
        rollout.roll_out(replace(one.place, cluster=refusing), one.a_release(), one.cache, 1 << 20)
    kept = one.place.ledger.record(before.release.id)
    assert (kept.rollout, kept.starts) == (before.rollout, before.starts)
    restore.undo(one.place, one.a_release())
    assert one.serving == before.release.id


def test_going_back_twice_is_going_back_once(one: Life, faulty: Faults) -> None:
    before = one.serving
    faulty.set("engine-wrong-name", count=1)
    one.fails("serves another name")
    again = restore.restore(one.place, one.a_release())
    assert (again.target, again.act) == (before, False)
    assert (one.serving, one.applied()) == (before, before)


def test_blue_green_proves_the_release_beside_the_one_that_serves_and_drops_no_request(one: Life) -> None:
    with one.calling() as callers:
        record = one.roll_out(rollout={"strategy": "blue-green"})
    all_answered(callers)
    assert record.rollout
    assert (record.rollout.strategy, record.rollout.gap_seconds) == ("blue-green", 0.0)
    assert heard(one, "green passed its gate and serves")
    assert one.green() is None
    assert (one.selector(), one.applied()) == (one.name, record.release.id)


def test_a_green_that_fails_its_gate_is_never_asked_and_its_evidence_is_kept(
    one: Life, faulty: Faults
) -> None:
    before = one.serving
    faulty.set("engine-wrong-name", count=1)
    with one.calling() as callers:
        broken = one.fails("serves another name", rollout={"strategy": "blue-green"})
    all_answered(callers)
    assert (one.serving, one.applied(), one.selector(), one.green()) == (before, before, one.name, None)
    assert broken.failure
    assert "-other, not" in "\n".join(broken.failure.evidence)


def test_a_surge_that_fails_its_gate_is_never_asked_and_what_served_goes_on(
    one: Life, faulty: Faults
) -> None:
    before = one.serving
    faulty.set("engine-wrong-name", count=1)
    with one.calling() as callers:
        broken = one.fails("serves another name")
    all_answered(callers)
    assert (one.serving, one.applied()) == (before, before)
    assert broken.failure


def test_a_strategy_the_gpus_do_not_allow_is_refused_with_nothing_moved(one: Life) -> None:
    before = (one.serving, one.applied(), one.place.ledger.serving())
    hog = {**_writer("sleep 600")}
    hog["metadata"] = {"name": "hog", "namespace": NAMESPACE}
    gpus = {"requests": {"nvidia.com/gpu": "3"}, "limits": {"nvidia.com/gpu": "3"}}
    hog["spec"] = {**hog["spec"], "containers": [hog["spec"]["containers"][0] | {"resources": gpus}]}
    one.api.apply(hog)
    wait(lambda: phase(one.api, "hog") == "Running")
    try:
        model = one.a_release(rollout={"strategy": "blue-green"})
        with pytest.raises(RolloutFailed, match=r"blue-green needs 1 GPU free on .* and 0 are"):
            rollout.roll_out(one.place, model, one.cache, 1 << 20)
        assert restore.undo(one.place, model) is None
    finally:
        one.api.delete("v1", "Pod", "hog", NAMESPACE)
        wait(lambda: one.api.get("v1", "Pod", "hog", NAMESPACE) is None)
    assert (one.serving, one.applied(), one.place.ledger.serving()) == before


class Dies:
    """A clock for naps that ends the run, as kill -9 does, once something is so."""

    def __init__(self, so: Callable[[], bool]) -> None:
        self.so = so

    def __call__(self, seconds: float) -> None:
        if self.so():
            raise Interrupted("dead")
        time.sleep(seconds)


def test_a_run_that_dies_while_green_serves_is_undone_and_drops_no_request(one: Life) -> None:
    before = one.serving
    dies = Dies(lambda: one.selector() != one.name and one.applied() != before)
    model = one.a_release(rollout={"strategy": "blue-green"})
    with one.calling() as callers:
        with pytest.raises(Interrupted):
            rollout.roll_out(replace(one.place, sleep=dies), model, one.cache, 1 << 20)
        assert one.green()
        back = restore.restore(one.place, model)
    all_answered(callers)
    assert (back.target, one.serving, one.applied()) == (before, before, before)
    assert (one.selector(), one.green()) == (one.name, None)


def test_the_same_release_started_again_after_it_died_goes_on_from_green(one: Life) -> None:
    dies = Dies(lambda: one.selector() != one.name and one.applied() != one.serving)
    model = one.a_release(rollout={"strategy": "blue-green"})
    with one.calling() as callers:
        with pytest.raises(Interrupted):
            rollout.roll_out(replace(one.place, sleep=dies), model, one.cache, 1 << 20)
        record = rollout.roll_out(one.place, model, one.cache, 1 << 20)
    one.place.ledger.proven(record)
    all_answered(callers)
    assert (one.applied(), one.selector(), one.green()) == (record.release.id, one.name, None)


# --------------------------------------------------------------- several replicas


@pytest.fixture(scope="module")
def several(make: Make, four: Cluster) -> Life:
    """A model of two replicas that serve, each from a clone of a snapshot of the claim."""
    api = "snapshot.storage.k8s.io/v1"
    wait(
        lambda: bool(
            four.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"volumesnapshots.{api[:-3]}")
        )
    )
    wait(lambda: four.list(api, "VolumeSnapshotClass") is not None)
    snapshot_class = {"apiVersion": api, "kind": "VolumeSnapshotClass", "metadata": {"name": "ebs"}}
    four.apply({**snapshot_class, "driver": "ebs.csi.aws.com", "deletionPolicy": "Delete"})
    four.apply(
        {
            "apiVersion": api,
            "kind": "VolumeSnapshot",
            "metadata": {"name": "warm", "namespace": NAMESPACE},
            "spec": {
                "volumeSnapshotClassName": "ebs",
                "source": {"persistentVolumeClaimName": "weights"},
            },
        }
    )
    wait(
        lambda: (
            ((four.get(api, "VolumeSnapshot", "warm", NAMESPACE) or {}).get("status") or {}).get("readyToUse")
            is True
        )
    )
    cache = a_cache(claim="weights", path="tiny", snapshot="warm", storage_class="clones", size="1Gi")
    life = make(cache, scaling={"max_replicas": 2})
    life.roll_out()
    four.patch("apps/v1", "Deployment", life.workload, {"spec": {"replicas": 2}}, NAMESPACE, "scale")
    wait(lambda: gateway.is_complete(life.place.workload(life.workload) or {}))
    return life


def test_a_canary_goes_first_and_the_rest_follows_it_and_no_request_is_dropped(several: Life) -> None:
    with several.calling() as callers:
        told = several.roll_out().rollout
    all_answered(callers)
    assert told
    assert (told.canary, told.strategy, told.gap_seconds) == (1, "RollingUpdate", 0.0)
    lines = [line for line in several.heard.lines if "canary" in line]
    assert lines[-2:] == [
        "canary: 1 of 2 replicas first, the others wait",
        "canary passed its gate: the rest follows",
    ]


def test_a_canary_that_fails_takes_no_replica_with_it(several: Life, faulty: Faults) -> None:
    before = several.serving
    faulty.set("engine-wrong-name", count=1)
    with several.calling() as callers:
        several.fails("serves another name")
    all_answered(callers)
    found = several.place.workload(several.workload) or {}
    assert (several.serving, several.applied()) == (before, before)
    assert not found["spec"].get("paused")


def test_a_canary_whose_run_died_passes_its_gate_before_the_rest_follows(several: Life) -> None:
    def paused() -> bool:
        return bool((several.place.workload(several.workload) or {})["spec"].get("paused"))

    model = several.a_release()
    with pytest.raises(Interrupted):
        rollout.roll_out(replace(several.place, sleep=Dies(paused)), model, several.cache, 1 << 20)
    assert paused()
    several.heard.lines.clear()
    record = rollout.roll_out(several.place, model, several.cache, 1 << 20)
    several.place.ledger.proven(record)
    assert heard(several, "canary passed its gate")
    assert not paused()


def test_clones_go_with_their_pods(several: Life) -> None:
    wait(
        lambda: (
            len(several.api.list("v1", "PersistentVolumeClaim", NAMESPACE, label_selector="app=model-cache"))
            == 2
        )
    )


def test_nothing_of_blue_green_is_left(one: Life) -> None:
    assert not bluegreen.is_there(one.place, one.a_release())
