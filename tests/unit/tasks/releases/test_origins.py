"""Whether a release's numbers were measured, are defaults, or were given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.records.model import Engine
from tasks.records.reports import Sweep
from tasks.records.results import Release
from tasks.releases.measured import MeasuredNumbers
from tasks.releases.origins import origins_of
from tasks.releases.records import ReleaseRecord


def a_record(threshold: int | None, seqs: int) -> ReleaseRecord:
    release = Release(
        model="llama",
        environment="staging",
        repo="o/llama",
        commit="c" * 40,
        image="vllm",
        engine=Engine(max_num_seqs=seqs),
        manifests_sha256="0",
    )
    spec = {"triggers": [{"metadata": {"threshold": str(threshold)}}]}
    documents: list[dict[str, Any]] = [{"kind": "Deployment"}]
    if threshold is not None:
        documents.append({"kind": "ScaledObject", "spec": spec})
    return ReleaseRecord(release=release, documents=tuple(documents))


def a_sweep(requests: int | None, seqs: int | None, refused: str | None = None) -> tuple[str, Sweep]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return "r0", Sweep(
        started_at=at, replicas=1, steps=(), refused=refused, requests_per_replica=requests, max_num_seqs=seqs
    )


@pytest.mark.parametrize(
    ("threshold", "seqs", "swept", "said"),
    [
        (16, 128, None, ["default", "default"]),
        (9, 64, None, ["given", "given"]),
        (9, 64, a_sweep(9, 64), ["measured by the sweep of r0", "measured by the sweep of r0"]),
        (9, 128, a_sweep(9, 64), ["measured by the sweep of r0", "default"]),
        (16, 128, a_sweep(16, 128), ["measured by the sweep of r0", "measured by the sweep of r0"]),
        (9, 64, a_sweep(9, 64, refused="the rate never failed"), ["given", "given"]),
        (9, 64, a_sweep(None, None), ["given", "given"]),
    ],
)
def test_each_number_has_its_origin(
    threshold: int, seqs: int, swept: tuple[str, Sweep] | None, said: list[str]
) -> None:
    found = [str(one) for one in origins_of(a_record(threshold, seqs), swept)]
    assert found == [
        f"scaling.requests_per_replica {threshold}: {said[0]}",
        f"engine.max_num_seqs {seqs}: {said[1]}",
    ]


def applied(requests: int, seqs: int) -> MeasuredNumbers:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return MeasuredNumbers(
        requests_per_replica=requests, max_num_seqs=seqs, by="r0", at=at, basis={"image": "a"}
    )


def test_what_was_applied_is_measured_until_it_is_stale() -> None:
    record = a_record(9, 64)
    fresh = origins_of(record, a_sweep(10, 72), applied(9, 64), {"image": "a"})
    assert [one.measured_by for one in fresh] == ["r0", "r0"]
    stale = origins_of(a_record(16, 64), None, applied(9, 64), {"image": "b"})
    assert [str(one) for one in stale] == [
        "scaling.requests_per_replica 16: default (what a sweep measured is stale: image changed)",
        "engine.max_num_seqs 64: given (what a sweep measured is stale: image changed)",
    ]


def test_a_release_without_a_scaler_has_no_target() -> None:
    assert [one.name for one in origins_of(a_record(None, 128), None)] == ["engine.max_num_seqs"]
