"""EC2 takes spot nodes back under load: what is asked meanwhile is answered, as long as an answer is shorter than the notice.

N=50 sets how many are taken back, SEED repeats an order of them.
"""

from __future__ import annotations

import base64
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tasks.records.names import KEY_ENTRY, OWN_KEY_SECRET
from tests.support.callers import calling
from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

MODEL, WHERE = "tiny-llama", "spotted"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
REPLICAS = 3
RECLAIMS = int(os.environ.get("N", "10"))
# a type that was taken back is not asked for again for a while
TYPES = ["g4dn.xlarge", "g6.xlarge", "g4dn.2xlarge", "g6.2xlarge", "g5.xlarge", "g5.2xlarge", "g6e.xlarge"]
PATIENCE = 120.0
CAPACITY = "karpenter.sh/capacity-type"

pytestmark = [pytest.mark.long, pytest.mark.timeout(600 + 40 * RECLAIMS)]


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """Three replicas, one on demand and two on spot nodes: as many as the environment may have."""
    gpu = {
        "provisioner": "karpenter",
        "capacity_type": "SPOT",
        "on_demand_base": 1,
        "max": REPLICAS,
        "consolidate_after": "6s",
        "instance_type": TYPES[0],
        "alternative_types": TYPES[1:],
    }
    another_environment(project, WHERE, gpu)
    scaling = {"min_replicas": REPLICAS, "max_replicas": REPLICAS}
    edit(project.home / "models" / f"{MODEL}.yaml", {"scaling": scaling})
    yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    project.run("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete").succeeded()


def get(project: Project, path: str, **query: str) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def nodes(project: Project) -> dict[str, str]:
    """The capacity type of each GPU node that stays."""
    found = get(project, "/api/v1/nodes", labelSelector="workload=inference-gpu")["items"]
    return {
        node["metadata"]["name"]: node["metadata"]["labels"].get(CAPACITY, "")
        for node in found
        if "deletionTimestamp" not in node["metadata"]
    }


def ready_on(project: Project) -> list[str]:
    """The nodes of the pods that are Ready and stay."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    found = get(project, path, labelSelector=f"slipway.dev/model={MODEL}")["items"]
    return [
        pod["spec"]["nodeName"]
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.1)


def test_one_replica_is_on_demand_and_the_others_on_spot(project: Project, deployed: Done) -> None:
    assert f"asking Karpenter for nodes for {REPLICAS} replicas" in deployed.output
    assert sorted(nodes(project).values()) == ["on-demand", "spot", "spot"]
    assert sorted(ready_on(project)) == sorted(nodes(project))
    (budget,) = get(project, f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets")["items"]
    assert (budget["status"]["currentHealthy"], budget["status"]["disruptionsAllowed"]) == (REPLICAS, 2)


def test_under_load_every_node_that_goes_is_replaced_and_nothing_fails(
    project: Project, deployed: Done, faults: Faults
) -> None:
    """One spot node at a time, or both at once, at random moments; also while the last one's replacement comes up."""
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed} N={RECLAIMS}")
    chance = random.Random(seed)
    (endpoint,) = re.findall(r"^  endpoint +(\S+)$", deployed.output, re.MULTILINE)
    secret = get(project, f"/api/v1/namespaces/{NAMESPACE}/secrets/{OWN_KEY_SECRET}")
    key = base64.b64decode(secret["data"][KEY_ENTRY]).decode()
    taken: list[str] = []
    with calling(endpoint, key, MODEL) as callers:
        while len(taken) < RECLAIMS:
            both = chance.random() < 0.3
            if chance.random() < 0.7:
                until(lambda: len(ready_on(project)) == REPLICAS, "every replica is Ready")
            until(lambda: bool(spot_nodes(project, taken)), "a replica on a spot node is Ready")
            time.sleep(chance.uniform(0.0, 2.0))
            there = spot_nodes(project, taken)
            going = chance.sample(there, min(len(there), 2 if both else 1))
            for name in going:
                faults.set("spot-reclaim", target=name, count=1)
            taken.extend(going)
            until(lambda: not any(f.name == "spot-reclaim" for f in faults.active()), "each has its notice")
        until(lambda: len(ready_on(project)) == REPLICAS, "every replica is Ready again")
    assert len({*taken}) == len(taken) >= RECLAIMS
    assert callers.failures == [], f"SEED={seed}, {len(callers.answers)} requests, {len(taken)} reclaims"
    print(f"{len(taken)} reclaims, {len(callers.answers)} requests, 0 failed")
    assert "on-demand" in nodes(project).values()


def spot_nodes(project: Project, taken: list[str]) -> list[str]:
    """The spot nodes with a replica that is Ready, but for those that have their notice."""
    kinds = nodes(project)
    return sorted({name for name in ready_on(project) if kinds.get(name) == "spot"} - {*taken})
