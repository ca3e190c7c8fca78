"""Who runs an environment's flows: refused forms."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.work_pool import WorkPool

IMAGE = f"registry.example.com/slipway@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"type": "kubernetes"}, "pod must be given"),
        ({"type": "process", "pod": {"image": IMAGE}}, "pod must be given"),
        ({"type": "kubernetes", "pod": {"image": "registry.example.com/slipway:1.0"}}, "pod.image"),
        ({"type": "docker"}, "type"),
    ],
)
def test_a_pool_that_cannot_run_a_flow_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WorkPool.model_validate(given)


def test_a_pool_is_of_type_process_unless_it_says_otherwise() -> None:
    assert WorkPool() == WorkPool(type="process")
