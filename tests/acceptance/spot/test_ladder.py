"""EC2 lacks a zone or a market: the next one is taken, the run says so, and the next run begins with what came."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

MODEL, WHERE = "tiny-llama", "laddered"
CLUSTER = f"slipway-{WHERE}"
HOME, OTHER = "us-east-1a", "us-east-1b"
CHEAP, DEAR = "g6.xlarge", "g5.2xlarge"
IDLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """A model whose replicas clone a snapshot, on spot or on demand, at home or in another zone, below a price."""
    gpu = {
        "provisioner": "karpenter",
        "capacity_type": "SPOT_OR_ON_DEMAND",
        "instance_type": CHEAP,
        "alternative_types": [DEAR],
        "price_ceiling": 1.0,
        "zone": HOME,
        "other_zones": [OTHER],
        "max": 2,
    }
    another_environment(project, WHERE, gpu)
    edit(project.home / "environments" / f"{WHERE}.yaml", {"cluster": {"zones": [HOME, OTHER]}})
    edit(project.home / "models" / f"{MODEL}.yaml", {"scaling": {"min_replicas": 1, "max_replicas": 2}})
    yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    project.run("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete").succeeded()


def nodes(project: Project) -> list[tuple[str, str, str]]:
    """(instance type, zone, market) of the GPU nodes."""
    with project.sandbox.api(CLUSTER) as api:
        answer = api.get("/api/v1/nodes", params={"labelSelector": "workload=inference-gpu"})
    found: list[dict[str, Any]] = [node["metadata"]["labels"] for node in answer.json()["items"]]
    return [
        (
            labels["node.kubernetes.io/instance-type"],
            labels["topology.kubernetes.io/zone"],
            labels["karpenter.sh/capacity-type"],
        )
        for labels in found
    ]


def wake_anew(project: Project) -> Done:
    """Sleep, then wake."""
    end = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run("scale-down", MODEL, "-e", WHERE).succeeded().output:
        assert time.monotonic() < end, "never idle"
    return project.run("wake", MODEL, "-e", WHERE).succeeded()


def test_the_first_rung_is_the_home_zone_and_no_type_above_the_ceiling(
    project: Project, deployed: Done
) -> None:
    assert nodes(project) == [(CHEAP, HOME, "spot")]
    assert f"price ceiling 1 USD an hour: not taken: {DEAR}: 1.212 USD an hour" in deployed.output


def test_the_image_is_pinned(project: Project, deployed: Done) -> None:
    with project.sandbox.api(CLUSTER) as api:
        found = api.get("/apis/karpenter.k8s.aws/v1/ec2nodeclasses/slipway-gpu").json()
    (term,) = found["spec"]["amiSelectorTerms"]
    assert re.fullmatch(r"al2023@v\d{8}", term["alias"])
    assert {term["alias"].partition("@")[2]} == {
        ami["name"].rpartition("-")[2] for ami in found["status"]["amis"]
    }


@pytest.mark.usefixtures("deployed")
def test_a_zone_without_capacity_is_left_and_the_next_run_begins_with_what_came(
    project: Project, faults: Faults
) -> None:
    faults.set("capacity", target=f"* {HOME} *")
    woken = wake_anew(project)
    assert nodes(project) == [(CHEAP, OTHER, "spot")]
    assert f"GPU nodes: {CHEAP} in {OTHER}, spot came after" in woken.output
    faults.clear()
    again = wake_anew(project)
    assert f"first {CHEAP} in {OTHER}, spot, which came last" in again.output
    assert nodes(project) == [(CHEAP, OTHER, "spot")]


@pytest.mark.usefixtures("deployed")
def test_a_market_without_capacity_is_left(project: Project, faults: Faults) -> None:
    faults.set("capacity", target="* spot")
    wake_anew(project)
    ((kind, _, market),) = nodes(project)
    assert (kind, market) == (CHEAP, "on-demand")


@pytest.mark.usefixtures("deployed")
def test_a_ceiling_below_every_type_is_refused_before_anything_is_touched(project: Project) -> None:
    file = project.home / "environments" / f"{WHERE}.yaml"
    before = file.read_text()
    file.write_text(before.replace("price_ceiling: 1.0", "price_ceiling: 0.1"))
    try:
        project.run("deploy", MODEL, "-e", WHERE).refused(
            3,
            "price ceiling: 0.1 USD an hour a node is below every type of cluster.gpu",
            f"next: raise cluster.gpu.price_ceiling in environments/{WHERE}.yaml",
        )
    finally:
        file.write_text(before)
