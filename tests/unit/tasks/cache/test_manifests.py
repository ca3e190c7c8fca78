"""Documents completed from records."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from exits import PERMANENT
from tasks.cache.context import job_name
from tasks.cache.manifests import initialization_rate, job, storage_class
from tasks.cache.observe import permanent_codes
from tasks.cache.volume import Volume
from tasks.records.cache import Cache
from tasks.records.model import Model
from tasks.records.names import cache_claim
from tests.support.builders import a_model, an_environment
from tests.support.canned import a_staged

C = "c" * 40


def test_other_figures_are_another_class_as_a_class_never_changes() -> None:
    usual, fast = Volume(20, 3000, 125), Volume(20, 8000, 2000)
    environment = an_environment()
    assert storage_class(environment, usual, "retain")["metadata"]["name"] == "gp3-retain-3000-125"
    made = storage_class(environment, fast, "retain")
    assert made["metadata"]["name"] == "gp3-retain-8000-2000"
    assert made["parameters"]["throughput"] == "2000"
    assert made["parameters"]["tagSpecification_1"] == f"slipway:environment={environment.name}"
    assert (made["reclaimPolicy"], made["parameters"]["encrypted"]) == ("Retain", "true")


def test_only_clones_ask_for_an_initialization_rate_and_their_class_is_named_for_it() -> None:
    volume, environment = Volume(20, 3000, 125), an_environment()
    cache = Cache(restore="initialization-rate", initialization_rate=200)
    made = storage_class(environment, volume, "clone", initialization_rate(cache))
    assert made["metadata"]["name"] == "gp3-clone-3000-125-init200"
    assert made["parameters"]["volumeInitializationRate"] == "200"
    assert "volumeInitializationRate" not in storage_class(environment, volume, "retain")["parameters"]
    assert (
        "volumeInitializationRate"
        not in storage_class(environment, volume, "clone", initialization_rate(Cache()))["parameters"]
    )


def test_a_restore_without_a_snapshot_is_refused() -> None:
    with pytest.raises(ValidationError, match="is for clones, and no snapshot is taken"):
        a_model(cache={"restore": "fast-snapshot-restore"})


def test_the_longest_names_are_still_label_values() -> None:
    model = Model.model_validate({"name": "m" * 40, "source": {"repo": "a/b"}, "load": {"rate": 1}})
    assert len(job_name(model, C)) <= 63
    assert len(cache_claim(model)) <= 63


def test_the_job_is_not_tried_again_after_exit_codes_that_are_permanent() -> None:
    made = job(an_environment(), a_model(), a_staged(), needed=(), node=None, seconds=60.0)
    assert permanent_codes(made) == PERMANENT
    rules = made["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob"]
