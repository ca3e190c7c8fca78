from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.rollout.budgets import remove_stale
from tests.support.builders import a_model
from tests.support.heard import Heard


class Cluster:
    """A cluster that has the budgets named `there`."""

    def __init__(self, *there: str) -> None:
        self.there = {*there}

    def delete(self, api: str, kind: str, name: str, namespace: str) -> bool:
        assert (api, kind, namespace) == ("policy/v1", "PodDisruptionBudget", "llm")
        found = name in self.there
        self.there.discard(name)
        return found


@pytest.mark.parametrize(
    ("kinds", "there", "left", "told"),
    [
        (["Deployment", "PodDisruptionBudget"], True, True, False),
        (["Deployment"], True, False, True),  # the release before had two replicas
        (["Deployment"], False, False, False),
        ([], True, False, True),  # nothing serves any more
    ],
)
def test_a_budget_of_an_earlier_release_goes_with_it(
    kinds: list[str], there: bool, left: bool, told: bool, heard: Heard
) -> None:
    model = a_model()
    name = f"vllm-{model.name}"
    cluster = Cluster(*([name] if there else []))
    context: Any = SimpleNamespace(cluster=cluster, namespace="llm", reporter=heard)
    remove_stale(context, model, [{"kind": kind} for kind in kinds])
    assert (name in cluster.there, bool(heard.lines)) == (left, told)
