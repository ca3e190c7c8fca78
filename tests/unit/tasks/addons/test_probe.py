from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.addons.probe import await_removal, documents, probe_name, remove
from tasks.addons.task import remove_probe
from tasks.cloud.kubernetes import Object
from tasks.cloud.waiting import Time
from tasks.records.errors import ClusterError
from tests.support.builders import ROOT, an_environment
from tests.support.canned import CannedCluster
from tests.support.clock import Clock
from tests.support.heard import Heard

WHERE = "kube-system"
ENVIRONMENT = an_environment()


def volume(claim: str, namespace: str = WHERE) -> Object:
    reference = {"namespace": namespace, "name": claim}
    return {"kind": "PersistentVolume", "metadata": {"name": "pvc-1"}, "spec": {"claimRef": reference}}


def ticking() -> Time:
    clock = Clock()
    return Time(clock, clock.sleep)


def test_the_probe_is_this_environments_own_and_its_volume_has_the_tag() -> None:
    its_class, claim, pod = documents(ENVIRONMENT, WHERE, ROOT)
    name = probe_name(ENVIRONMENT)
    assert {each["metadata"]["name"] for each in (its_class, claim, pod)} == {name}
    assert its_class["parameters"]["tagSpecification_1"] == "slipway:environment=staging"
    assert claim["spec"]["storageClassName"] == name
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == name
    assert "ENVIRONMENT" not in json.dumps([its_class, claim, pod])


def test_what_a_killed_run_left_of_it_is_removed() -> None:
    cluster = CannedCluster(*documents(ENVIRONMENT, WHERE, ROOT))
    remove(cluster, ENVIRONMENT, WHERE, ROOT)
    assert cluster.documents == []


@pytest.mark.parametrize("others", [[], [volume("data")], [volume(probe_name(ENVIRONMENT), "billing")]])
def test_other_volumes_are_not_waited_for(others: list[Any]) -> None:
    await_removal(CannedCluster(*others), ENVIRONMENT, WHERE, time=ticking())


def test_a_volume_that_stays_is_told_with_the_drivers_words() -> None:
    cluster = CannedCluster(
        volume(probe_name(ENVIRONMENT)), events=["Warning VolumeFailedDelete: VolumeInUse"]
    )
    with pytest.raises(ClusterError, match="probe claim slipway-verify-ebs-staging") as caught:
        await_removal(cluster, ENVIRONMENT, WHERE, time=ticking())
    assert caught.value.evidence == ("Warning VolumeFailedDelete: VolumeInUse",)
    assert caught.value.next_command == "kubectl describe persistentvolume pvc-1"


@pytest.mark.parametrize(("existing", "raises"), [({}, False), ({"cluster": "shared"}, True)])
def test_a_volume_that_stays_ends_a_teardown_only_where_the_cluster_stays(
    existing: dict[str, Any], raises: bool
) -> None:
    environment = an_environment(existing=existing, deadlines={"drain": 0.0})
    cluster = CannedCluster(volume(probe_name(environment)), *documents(environment, WHERE, ROOT))
    site: Any = SimpleNamespace(cluster=lambda: cluster, environment=environment)
    heard = Heard()
    with pytest.raises(ClusterError) if raises else nullcontext():
        remove_probe(site, WHERE, heard)
    assert [each["kind"] for each in cluster.documents] == ["PersistentVolume"]
    assert bool(heard.lines) is not raises
