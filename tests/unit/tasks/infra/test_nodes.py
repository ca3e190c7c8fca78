from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cloud.waiting import Time
from tasks.infra.nodes import ISSUE_SHARE, count, decide_size, scale_to_zero, scale_up
from tasks.records.errors import CapacityUnavailable, CloudError, InputError
from tests.support.builders import INFRASTRUCTURE, a_model, an_environment
from tests.support.clock import Clock
from tests.support.heard import Heard


@pytest.mark.parametrize(
    ("desired", "at_least", "at_most", "size"),
    [
        (0, 1, 2, 1),
        (1, 1, 2, None),
        (1, 2, 2, 2),
        (2, 1, 2, None),
        (0, 3, 2, 2),
        (2, 3, 2, None),
        (3, 1, 2, None),  # more than the file says now: scale-down takes them away, not this
    ],
)
def test_the_node_group_grows_to_what_is_needed_and_never_shrinks(
    desired: int, at_least: int, at_most: int, size: int | None
) -> None:
    assert decide_size(desired, at_least=at_least, at_most=at_most) == size


@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))
def test_a_size_asked_for_is_needed_and_allowed(desired: int, at_least: int, at_most: int) -> None:
    size = decide_size(desired, at_least=at_least, at_most=at_most)
    assert size is None or desired < size <= min(at_least, at_most)


BOOT = 60.0
ISSUE = {"code": "AsgInstanceLaunchFailures", "message": "InsufficientInstanceCapacity in us-east-1a"}


class Region:
    """A node group and its nodes; `nodes`: how many are Ready at each look, the last for ever."""

    def __init__(self, *nodes: int, desired: int = 0, issues: tuple[dict[str, str], ...] = ()) -> None:
        self.nodes, self.desired, self.issues = list(nodes), desired, issues
        self.asked: list[int] = []

    def client(self, service: str) -> Region:
        assert service == "eks"
        return self

    def describe_nodegroup(self, **_: str) -> dict[str, Any]:
        scaling = {"desiredSize": self.desired}
        return {"nodegroup": {"scalingConfig": scaling, "health": {"issues": self.issues}}}

    def update_nodegroup_config(self, *, scalingConfig: dict[str, int], **_: str) -> None:  # noqa: N803
        self.asked.append(scalingConfig["desiredSize"])

    def list(self, api: str, kind: str, *, label_selector: str) -> list[dict[str, Any]]:
        assert (api, kind, label_selector) == ("v1", "Node", "workload=inference-gpu")
        now = self.nodes.pop(0) if len(self.nodes) > 1 else self.nodes[0]
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{"metadata": {"name": f"gpu-{n}"}, "status": ready} for n in range(now)]


def up(region: Region, clock: Clock, heard: Heard, at_least: int = 1) -> list[str]:
    aws: Any = region
    cluster: Any = region
    environment = an_environment(deadlines={"node_boot": BOOT})
    time = Time(clock, clock.sleep)
    return scale_up(INFRASTRUCTURE, environment, aws, cluster, heard, at_least=at_least, time=time)


def test_nodes_are_asked_for_and_waited_for(clock: Clock, heard: Heard) -> None:
    region = Region(0, 0, 1, 2)
    assert up(region, clock, heard, at_least=2) == ["gpu-0", "gpu-1"]
    assert region.asked == [2]
    assert heard.lines == [
        "GPU node group gpu: asking for 2",
        "0 of 2 GPU nodes ready",
        "1 of 2 GPU nodes ready",
    ]


def test_nodes_that_are_there_cost_no_request_and_no_wait(clock: Clock, heard: Heard) -> None:
    region = Region(1, desired=1)
    assert up(region, clock, heard) == ["gpu-0"]
    assert (region.asked, clock.slept, heard.lines) == ([], [], [])


def test_a_health_issue_that_stands_ends_the_wait_with_its_words(clock: Clock, heard: Heard) -> None:
    began = clock.now
    with pytest.raises(CapacityUnavailable) as caught:
        up(Region(0, issues=(ISSUE,)), clock, heard)
    assert caught.value.evidence == ("AsgInstanceLaunchFailures: InsufficientInstanceCapacity in us-east-1a",)
    assert clock.now - began == pytest.approx(BOOT * ISSUE_SHARE, abs=0.5)


def test_a_health_issue_of_an_earlier_try_is_waited_out(clock: Clock, heard: Heard) -> None:
    assert up(Region(0, 0, 1, issues=(ISSUE,)), clock, heard) == ["gpu-0"]


def test_a_node_that_never_joins_is_told_at_the_deadline(clock: Clock, heard: Heard) -> None:
    began = clock.now
    with pytest.raises(CloudError, match="no GPU node joined within 60 s") as caught:
        up(Region(0), clock, heard)
    assert "describe-nodegroup --cluster-name c --nodegroup-name gpu" in str(caught.value.next_command)
    assert clock.now - began == BOOT


def down(region: Region, clock: Clock, heard: Heard, fewest: int = 0) -> None:
    aws: Any = region
    cluster: Any = region
    environment = an_environment(cluster={"gpu": {"min": fewest}}, deadlines={"node_boot": BOOT})
    scale_to_zero(INFRASTRUCTURE, environment, aws, cluster, heard, time=Time(clock, clock.sleep))


@pytest.mark.parametrize(("fewest", "line"), [(0, "no GPU node is left"), (1, "1 GPU node is left")])
def test_nodes_go_until_the_fewest_allowed_are_left(
    fewest: int, line: str, clock: Clock, heard: Heard
) -> None:
    region = Region(2, 2, fewest)
    down(region, clock, heard, fewest)
    assert (region.asked, heard.lines) == ([fewest], [line])


def test_nodes_that_stay_are_named(clock: Clock, heard: Heard) -> None:
    with pytest.raises(CloudError, match="did not go away") as caught:
        down(Region(1), clock, heard)
    assert caught.value.evidence == ("gpu-0",)


class Serving:
    """A cluster with GPU nodes of one GPU, the model's Deployment, and pods: (node, model, GPUs)."""

    def __init__(self, nodes: int, replicas: int | None, *pods: tuple[int, str, int]) -> None:
        self._nodes, self._replicas, self._pods = nodes, replicas, pods

    def get(self, api: str, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (api, kind, name, namespace) == ("apps/v1", "Deployment", "vllm-llama", "llm")
        return None if self._replicas is None else {"spec": {"replicas": self._replicas}}

    def list(self, api: str, kind: str, **_: str) -> list[dict[str, Any]]:
        if kind == "Node":
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            return [{"metadata": {"name": f"gpu-{n}"}, "status": ready} for n in range(self._nodes)]
        return [
            {
                "metadata": {"name": f"{model}-{node}", "labels": {"slipway.dev/model": model}},
                "spec": {
                    "nodeName": f"gpu-{node}",
                    "containers": [{"resources": {"requests": {"nvidia.com/gpu": str(gpus)}}}],
                },
            }
            for node, model, gpus in self._pods
        ]


@pytest.mark.parametrize(
    ("fewest", "cluster", "nodes"),
    [
        (1, Serving(0, None), 1),
        (2, Serving(0, None), 2),
        (2, Serving(0, 0), 2),  # asleep
        (2, Serving(2, 2, (0, "llama", 1), (1, "llama", 1)), 2),
        (1, Serving(2, 3, (0, "llama", 1), (1, "llama", 1)), 3),  # KEDA asked for a third
        (1, Serving(4, 9), 4),  # and not beyond cluster.gpu.max
        (1, Serving(1, None, (0, "other", 1)), 2),
        (1, Serving(1, 1, (0, "llama.green", 1)), 1),
    ],
)
def test_the_nodes_a_model_needs_now(fewest: int, cluster: Any, nodes: int) -> None:
    model = a_model(scaling={"min_replicas": fewest, "max_replicas": 9})
    environment = an_environment(cluster={"gpu": {"max": 4}})
    assert count(environment, model, cluster, gpus_a_node=1) == nodes


def test_fewer_nodes_than_the_fewest_replicas_need_are_refused() -> None:
    cluster: Any = Serving(1, None, (0, "other", 1))
    model = a_model(scaling={"min_replicas": 2, "max_replicas": 2})
    with pytest.raises(
        InputError, match=r"llama needs 3 GPU nodes for 2 replicas, and cluster\.gpu\.max is 2"
    ) as caught:
        count(an_environment(cluster={"gpu": {"max": 2}}), model, cluster, gpus_a_node=1)
    assert caught.value.evidence == ("1 GPUs of 1 nodes are held by other pods",)
    assert "raise cluster.gpu.max" in str(caught.value.next_command)


def test_a_replica_larger_than_a_node_is_refused() -> None:
    cluster: Any = Serving(0, None)
    with pytest.raises(InputError, match=r"a replica of llama asks for 4 GPUs, and g5\.2xlarge has 1"):
        count(an_environment(), a_model(resources={"gpu": 4}), cluster, gpus_a_node=1)
