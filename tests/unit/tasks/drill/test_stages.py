"""The drill's load: enough for a second replica, and no more."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks.drill.stages import callers, heavy, light
from tests.support.builders import a_model


@pytest.mark.parametrize(
    ("scaling", "sequences", "expected"),
    [
        ({"requests_per_replica": 1}, 128, 2),
        ({"requests_per_replica": 2}, 128, 3),
        ({"requests_per_replica": 16}, 128, 24),
        ({"requests_per_replica": 16, "running_weight": 2.0}, 128, 12),
        # what the engine cannot run at once waits, and counts ten times
        ({"requests_per_replica": 40}, 32, 32 + math.ceil((60 - 32) / 10)),
        ({"requests_per_replica": 40, "running_weight": 0.0}, 32, 32 + 6),
        ({"requests_per_replica": 40, "waiting_weight": 0.0}, 32, 60),
    ],
)
def test_as_many_callers_as_a_second_replica_takes(
    scaling: dict[str, Any], sequences: int, expected: int
) -> None:
    model = a_model(scaling=scaling | {"max_replicas": 4}, engine={"max_num_seqs": sequences})
    assert callers(model) == expected
    settings = model.scaling
    running = min(expected, sequences) * settings.running_weight
    demand = running + max(0, expected - sequences) * settings.waiting_weight
    if settings.waiting_weight:
        assert settings.requests_per_replica * 1.1 < demand <= settings.requests_per_replica * 2


def test_the_loads_are_callers_that_wait_for_their_answers() -> None:
    model = a_model(scaling={"requests_per_replica": 4}, engine={"max_model_len": 512})
    assert (heavy(model, 60).concurrency, light(model, 60).concurrency) == (6, 1)
    assert heavy(model, 60).output_tokens.mean == 128
    assert heavy(model, 60).window == 60


def test_a_model_that_embeds_is_asked_for_embeddings() -> None:
    model = a_model(engine={"task": "embed"}, load={"endpoint": "embeddings", "texts": 4})
    assert (heavy(model, 60).endpoint, heavy(model, 60).texts) == ("embeddings", 4)
