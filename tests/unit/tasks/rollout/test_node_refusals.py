from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.records.errors import ClusterError
from tasks.rollout.node_refusals import EVERY_SECONDS, NodeGroupHealth, PoolRefusals
from tests.support.builders import INFRASTRUCTURE


class Eks:
    """One node group; counts how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, 0

    def client(self, service: str) -> Any:
        assert service == "eks"
        return self

    def describe_nodegroup(self, *, clusterName: str, nodegroupName: str) -> Any:  # noqa: N803
        assert (clusterName, nodegroupName) == ("c", "gpu")
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"nodegroup": self.answer}


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ({}, ()),
        ({"health": {"issues": []}}, ()),
        ({"health": {"issues": [{"code": "A", "message": "b"}]}}, ("node group gpu: A: b",)),
    ],
)
def test_each_issue_is_a_line(answer: Any, lines: tuple[str, ...]) -> None:
    eks: Any = Eks(answer)
    assert NodeGroupHealth(eks, INFRASTRUCTURE)() == lines


def test_eks_is_asked_every_ten_seconds_at_most() -> None:
    eks: Any = Eks({})
    now = [0.0]
    health = NodeGroupHealth(eks, INFRASTRUCTURE, clock=lambda: now[0])
    for second in (0.0, 1.0, EVERY_SECONDS - 0.1, EVERY_SECONDS, EVERY_SECONDS + 1):
        now[0] = second
        health()
    assert eks.asked == 2


def test_an_eks_that_does_not_answer_is_a_line_and_ends_nothing() -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeNodegroup")
    eks: Any = Eks(denied)
    [line] = NodeGroupHealth(eks, INFRASTRUCTURE)()
    assert line.startswith("the node group's health is not known: ")


LIMIT = "Failed to schedule pod, node limits have been exhausted for nodepool (NodePool=slipway-gpu)"


class Api:
    """A cluster with one serving pod, and Karpenter's event of it; `node`: where the pod is."""

    def __init__(self, node: str | None = None) -> None:
        self.node, self.asked = node, 0

    def list(self, api: str, kind: str, namespace: str | None = None, label_selector: str = "") -> Any:
        if kind == "Pod":
            self.asked += 1
            metadata = {"name": "pod", "namespace": namespace, "creationTimestamp": "2026-11-29T10:00:00Z"}
            return [{"metadata": metadata, "spec": {"nodeName": self.node} if self.node else {}}]
        if kind == "Event" and namespace == "llm":
            about = {"involvedObject": {"name": "pod"}, "lastTimestamp": "2026-11-29T10:00:02Z"}
            return [{**about, "reason": "FailedScheduling", "message": LIMIT}]
        return []

    def get(self, api: str, kind: str, name: str) -> Any:
        return {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.mark.parametrize(
    ("node", "lines"),
    [
        (None, ("Karpenter: node limits have been exhausted for nodepool (NodePool=slipway-gpu)",)),
        ("gpu-0", ()),
    ],
)
def test_what_karpenter_says_of_a_pod_without_a_node_is_a_line(node: str | None, lines: Any) -> None:
    api: Any = Api(node)
    refusals = PoolRefusals(api, "llm", clock=lambda: 0.0)
    assert (refusals(), refusals()) == (lines, lines)
    assert api.asked == 1


def test_an_api_that_does_not_answer_is_a_line_and_ends_nothing() -> None:
    class Silent:
        def list(self, *_: Any) -> Any:
            raise ClusterError("cannot list Pod")

    api: Any = Silent()
    assert PoolRefusals(api, "llm")() == ("what Karpenter says is not known: cannot list Pod",)
