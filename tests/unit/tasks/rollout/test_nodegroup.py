from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.rollout.nodegroup import EVERY_SECONDS, NodeGroupHealth
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
