from __future__ import annotations

from typing import Any

import pytest

from tasks.records.errors import InputError
from tasks.rollout.weights import Weights, check_replicas, weights_volume
from tests.support.builders import COMMIT, WEIGHTS, a_cache, a_model, an_inspection

ONE, SEVERAL = a_model(), a_model(scaling={"max_replicas": 2})


def test_weights_are_the_ones_the_cache_holds() -> None:
    cache = a_cache(snapshot="warm-1", storage_class="fast-clone", size="20Gi")
    assert Weights.of(cache, WEIGHTS) == Weights(
        COMMIT, cache.claim, cache.path, WEIGHTS, "warm-1", "fast-clone", "20Gi"
    )


def test_what_is_expected_before_warming_is_what_the_cache_holds_afterwards() -> None:
    assert Weights.expected(ONE, an_inspection()).claim == a_cache().claim
    assert Weights.expected(ONE, an_inspection()).path == a_cache().path
    assert Weights.expected(ONE, an_inspection()).size == WEIGHTS


@pytest.mark.parametrize("model", [ONE, SEVERAL])
def test_a_preview_is_refused_for_no_model_that_warming_will_serve(model: Any) -> None:
    check_replicas(model, Weights.expected(model, an_inspection()))


def test_several_replicas_without_a_snapshot_are_refused() -> None:
    with pytest.raises(InputError, match="its cache volume can serve one"):
        check_replicas(SEVERAL, Weights.of(a_cache(), WEIGHTS))


def test_one_replica_mounts_the_claim_read_only_and_several_a_clone_each() -> None:
    weights = Weights.of(a_cache(snapshot="warm-1"), WEIGHTS)
    assert weights_volume(ONE, weights)["persistentVolumeClaim"] == {
        "claimName": "model-cache-llama",
        "readOnly": True,
    }
    template = weights_volume(SEVERAL, weights)["ephemeral"]["volumeClaimTemplate"]
    assert template["metadata"]["labels"] == {"app": "model-cache", "model": "llama"}
    assert template["spec"]["dataSource"]["name"] == "warm-1"
