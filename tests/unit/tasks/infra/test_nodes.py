from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.infra.nodes import capacity, decide_size
from tests.support.builders import INFRASTRUCTURE


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


def test_what_ec2_says_about_capacity_is_the_evidence() -> None:
    issue = {"code": "AsgInstanceLaunchFailures", "message": "InsufficientInstanceCapacity in us-east-1a"}
    assert capacity(INFRASTRUCTURE, [issue]).evidence == (
        "AsgInstanceLaunchFailures: InsufficientInstanceCapacity in us-east-1a",
    )
