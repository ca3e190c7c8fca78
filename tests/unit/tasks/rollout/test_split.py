from __future__ import annotations

import pytest

from tasks.rollout.gateway import routes
from tasks.rollout.split import split
from tests.support.builders import ROOT, a_model, an_environment

HELD = {"min_replicas": 1, "scale_to_zero": True}


def servers(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("server ")]


@pytest.mark.parametrize(
    ("percent", "weights"),
    [(0, {"vllm-llama": 100}), (100, {"green": 100}), (25, {"vllm-llama": 75, "green": 25})],
)
def test_each_service_gets_its_part_and_one_without_a_part_is_not_asked(
    percent: int, weights: dict[str, int]
) -> None:
    text = routes(ROOT, a_model(), an_environment())["llama.upstream"]
    found = split(text, "green", percent)
    assert set(servers(found)) == {
        f"server {name}.llm.svc.cluster.local:8000 weight={weight} max_fails=0;"
        for name, weight in weights.items()
    }
    assert len(servers(found)) == 2 * len(weights)
    assert found.startswith("upstream vllm-llama {\n")
    assert found.endswith("}\n")


def test_the_holder_stays_where_no_connection_comes_about() -> None:
    text = routes(ROOT, a_model(scaling=HELD), an_environment())["llama.upstream"]
    [holder] = [line for line in servers(text) if line.endswith("backup;")]
    assert servers(split(text, "green", 50))[-1] == holder


@pytest.mark.parametrize("percent", [-1, 101])
def test_what_is_no_percentage_is_refused(percent: int) -> None:
    with pytest.raises(ValueError, match="is no percentage"):
        split("", "green", percent)
