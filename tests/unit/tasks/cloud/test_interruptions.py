from __future__ import annotations

import pytest

from tasks.cloud.interruptions import judge

QUEUE = "slipway-x-karpenter"
ARN = f"arn:aws:sqs:eu-west-1:123456789012:{QUEUE}"


@pytest.mark.parametrize(
    ("state", "targets", "lines"),
    [
        ("ENABLED", [ARN], []),
        ("DISABLED", [ARN], ["the EventBridge rule r is DISABLED"]),
        ("ENABLED", [], [f"the EventBridge rule r does not send to the queue {QUEUE}"]),
        ("ENABLED", [f"{ARN}-old"], [f"the EventBridge rule r does not send to the queue {QUEUE}"]),
    ],
)
def test_notices_arrive_by_a_rule_that_is_on_and_sends_to_the_queue(
    state: str, targets: list[str], lines: list[str]
) -> None:
    assert judge("r", state, [{"Arn": arn} for arn in targets], QUEUE) == lines
