"""Several replicas, each on a clone of its own: some go first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.records.strategy import Strategy
from tests.support.builders import a_cache
from tests.support.upgrades import Upgrades, all_answered
from tests.support.weights import CLAIM, PATH
from tests.support.workloads import NAMESPACE, wait

Make = Callable[..., Upgrades]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def several(make: Make, four: Cluster) -> Upgrades:
    """A model of two replicas that serve, each from a clone of a snapshot of the claim."""
    api = "snapshot.storage.k8s.io/v1"
    definition = "volumesnapshots.snapshot.storage.k8s.io"
    wait(lambda: bool(four.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition)))
    snapshot_class = {"apiVersion": api, "kind": "VolumeSnapshotClass", "metadata": {"name": "ebs"}}
    four.apply({**snapshot_class, "driver": "ebs.csi.aws.com", "deletionPolicy": "Delete"})
    source = {"persistentVolumeClaimName": CLAIM}
    four.apply(
        {
            "apiVersion": api,
            "kind": "VolumeSnapshot",
            "metadata": {"name": "warm", "namespace": NAMESPACE},
            "spec": {"volumeSnapshotClassName": "ebs", "source": source},
        }
    )
    wait(lambda: objects.status(four.get(api, "VolumeSnapshot", "warm", NAMESPACE)).get("readyToUse") is True)
    cache = a_cache(claim=CLAIM, path=PATH, snapshot="warm", storage_class="clones", size="1Gi")
    upgrades = make(cache, scaling={"max_replicas": 2})
    upgrades.roll_out()
    four.patch("apps/v1", "Deployment", upgrades.workload, {"spec": {"replicas": 2}}, NAMESPACE, "scale")
    wait(lambda: objects.is_complete(upgrades.deployment()))
    return upgrades


def test_a_canary_goes_first_and_the_rest_follows_it_and_no_request_is_dropped(several: Upgrades) -> None:
    with several.calling() as callers:
        told = several.roll_out().rollout
    all_answered(callers)
    assert told
    assert (told.canary, told.strategy, told.gap_seconds) == (1, Strategy.SURGE, 0.0)
    lines = [line for line in several.heard.lines if "canary" in line]
    assert lines[-2:] == [
        "canary: 1 of 2 replicas first, the others wait",
        "canary passed its gate: the rest follows",
    ]


def test_a_canary_that_fails_takes_no_replica_with_it(several: Upgrades, faults: Faults) -> None:
    before = several.serving
    faults.set("engine-wrong-name", count=1)
    with several.calling() as callers:
        several.fails("serves another name")
    all_answered(callers)
    assert (several.serving, several.applied()) == (before, before)
    assert not several.deployment()["spec"].get("paused")


@pytest.mark.long
def test_a_canary_whose_run_died_passes_its_gate_before_the_rest_follows(several: Upgrades) -> None:
    def paused() -> bool:
        return bool(several.deployment()["spec"].get("paused"))

    model = several.a_release()
    several.dies(model, paused)
    assert paused()
    several.heard.lines.clear()
    record = several.start(model)
    several.ledger.proven(record)
    assert several.said("canary passed its gate")
    assert not paused()


def test_clones_go_with_their_pods(several: Upgrades) -> None:
    claims = ("v1", "PersistentVolumeClaim", NAMESPACE, "app=model-cache")
    wait(lambda: len(several.api.list(*claims)) == 2)
