from __future__ import annotations

import pytest

from flows.teardown import Keep, check_confirmed, may_stay
from tasks.records.errors import InputError
from tests.support.builders import an_environment


@pytest.mark.parametrize(
    ("line", "models", "volumes", "stays"),
    [
        ("volume vol-1 22 GiB of claim llm/x", "keep", "keep", True),
        ("volume vol-1 22 GiB of claim llm/x", "delete", "keep", True),
        ("volume vol-1 22 GiB of claim llm/x", "keep", "delete", False),
        ("snapshot snap-1 22 GiB of a/b 0123456789ab", "delete", "keep", True),
        ("snapshot snap-1 22 GiB of a/b 0123456789ab", "keep", "delete", False),
        ("s3 acme-models", "keep", "delete", True),
        ("s3 acme-models", "delete", "keep", False),
        ("kms key/1", "keep", "keep", True),
        ("kms key/1", "delete", "keep", False),
        ("secretsmanager secret:t", "keep", "keep", True),
        ("secretsmanager secret:t", "delete", "keep", False),
        ("ec2 vpc/vpc-1", "keep", "keep", False),
        ("instance i-1 g5.2xlarge", "keep", "keep", False),
        ("cluster slipway-staging", "keep", "keep", False),
        ("eks cluster/slipway-staging", "keep", "keep", False),
        ("iam role/x", "keep", "keep", False),
        ("elasticloadbalancing loadbalancer/net/x", "keep", "keep", False),
        ("logs log-group:/aws/eks/x/cluster", "keep", "keep", False),
    ],
)
def test_only_what_was_asked_to_be_kept_may_stay(line: str, models: Keep, volumes: Keep, stays: bool) -> None:
    assert may_stay(line, models, volumes) is stays


@pytest.mark.parametrize(
    ("protected", "confirm", "passes"),
    [
        (False, "", True),
        (False, "anything", True),
        (True, "staging", True),
        (True, "", False),
        (True, "Staging", False),
        (True, "production", False),
        (True, "staging ", False),
    ],
)
def test_a_protected_environment_needs_its_own_name(protected: bool, confirm: str, passes: bool) -> None:
    environment = an_environment(protected=protected)
    if passes:
        check_confirmed(environment, confirm)
        return
    with pytest.raises(InputError, match="staging is protected") as caught:
        check_confirmed(environment, confirm)
    assert "--confirm staging" in str(caught.value.next_command)
