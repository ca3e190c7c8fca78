"""Which numbers a deploy takes: measured ones while they are of the same model, engine and hardware, and the file's first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.records.errors import InputError
from tasks.records.model import Model
from tasks.releases.measured import MeasuredNumbers, basis_of, changed, choose, given_in_file
from tasks.releases.task import check_appliable, swept_model
from tests.support.builders import a_model, an_environment, merged
from tests.support.releases import a_record

A, B = "vllm/vllm-openai:v0.32.0@sha256:" + "a" * 64, "vllm/vllm-openai:v0.32.0@sha256:" + "b" * 64
TAG = "vllm/vllm-openai:v0.32.0"


def numbers(model: Model | None = None) -> MeasuredNumbers:
    return MeasuredNumbers(
        requests_per_replica=9,
        max_num_seqs=40,
        by="r0",
        at=datetime(2026, 11, 1, tzinfo=UTC),
        basis=basis_of(model or a_model(), an_environment()),
    )


def taken(model: Model) -> tuple[int, int]:
    return model.scaling.requests_per_replica, model.engine.max_num_seqs


@pytest.mark.parametrize(
    ("in_file", "expected", "said"),
    [
        ({}, (9, 40), "as the sweep of r0 measured: scaling.requests_per_replica 9, engine.max_num_seqs 40"),
        ({"engine": {"max_num_seqs": 64}}, (9, 64), "whatever was measured: engine.max_num_seqs"),
        ({"scaling": {"requests_per_replica": 3}}, (3, 40), "as the sweep of r0 measured: engine.max_num_seqs 40"),
        # the default, said by the file
        ({"scaling": {"requests_per_replica": 16}}, (16, 40), "whatever was measured: scaling.requests_per_replica"),
        ({"engine": {"max_num_seqs": 64}, "scaling": {"requests_per_replica": 3}}, (3, 64), "whatever was measured"),
    ],
)  # fmt: skip
def test_a_number_of_the_file_wins_and_the_others_are_as_measured(
    in_file: dict[str, Any], expected: tuple[int, int], said: str
) -> None:
    model = a_model(**in_file)
    chosen = choose(model, numbers(), basis_of(model, an_environment()))
    assert taken(chosen.model) == expected
    assert said in " ".join(chosen.told)


GPU = {"cluster": {"gpu": {"instance_type": "g6.2xlarge"}}}


@pytest.mark.parametrize(
    ("model", "environment", "why"),
    [
        ({"engine": {"image": "vllm/vllm-openai:v0.33.0"}}, {}, "image"),
        ({"engine": {"max_model_len": 4096}}, {}, "engine flags"),
        ({"engine": {"extra_args": ["--enforce-eager"]}}, {}, "engine flags"),
        ({"resources": {"gpu": 2}}, {}, "hardware"),
        ({}, GPU, "hardware"),
        ({"objectives": {"ttft": {"p95": "1s"}}}, {}, "objectives"),
        ({"load": {"prompt_tokens": {"mean": 9}}}, {}, "load"),
        ({"source": {"repo": "o/other"}}, {}, "model"),
    ],
)
def test_what_changed_makes_them_stale_and_is_named(
    model: dict[str, Any], environment: dict[str, Any], why: str
) -> None:
    now = a_model(**model)
    chosen = choose(now, numbers(), basis_of(now, an_environment(**environment)))
    assert taken(chosen.model) == taken(now)
    assert len(chosen.told) == 1
    assert f"stale: {why} changed since" in chosen.told[0]


@pytest.mark.parametrize(
    "same",
    [{"load": {"rate": 7.0, "window": "9s"}}, {"scaling": {"max_replicas": 4}}, {"source": {"revision": "v2"}}],
)  # fmt: skip
def test_amount_of_load_bounds_and_revision_change_nothing(same: dict[str, Any]) -> None:
    now = a_model(**merged({}, same))
    assert changed(numbers().basis, basis_of(now, an_environment())) == []


@pytest.mark.parametrize(
    ("before", "now", "stale"), [(A, A, False), (A, B, True), (A, TAG, False), (TAG, B, False)]
)
def test_a_digest_is_held_against_a_digest_and_a_tag_against_a_tag(
    before: str, now: str, stale: bool
) -> None:
    basis = numbers(a_model().with_image(before)).basis
    assert changed(basis, basis_of(a_model().with_image(now), an_environment())) == ["image"] * stale


def test_without_a_sweep_nothing_is_changed_and_nothing_said() -> None:
    assert choose(a_model(), None, {}) == (a_model(), [])


def test_apply_is_refused_where_a_file_sets_both_and_where_only_promotions_come_in() -> None:
    both = a_model(engine={"max_num_seqs": 64}, scaling={"requests_per_replica": 3})
    with pytest.raises(InputError, match="sets both numbers itself"):
        check_appliable(both, an_environment())
    assert given_in_file(both) == ["scaling.requests_per_replica", "engine.max_num_seqs"]
    with pytest.raises(InputError, match="only what was proven in staging"):
        check_appliable(a_model(), an_environment(name="production", promote_from="staging"))
    check_appliable(a_model(engine={"max_num_seqs": 64}), an_environment())


def test_what_is_swept_is_what_serves_or_it_is_refused() -> None:
    served = a_record(64)
    engine = served.release.engine.model_copy(update={"image": A})
    record = served.model_copy(
        update={
            "release": served.release.model_copy(update={"engine": engine, "repo": a_model().source.repo})
        }
    )
    assert swept_model(a_model(), an_environment(), record).engine.image == A
    with pytest.raises(InputError, match="has changed since release"):
        swept_model(a_model(engine={"max_model_len": 4096}), an_environment(), record)
