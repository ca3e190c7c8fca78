"""Releases as the ledger keeps them."""

from __future__ import annotations

from tasks.records.model import Engine
from tasks.records.results import Endpoint, Release, Rollout
from tasks.records.strategy import Strategy
from tasks.releases.records import ReleaseRecord
from tests.support.builders import COMMIT


def a_record(sequences: int) -> ReleaseRecord:
    release = Release(
        model="llama", environment="staging", repo="a/b", commit=COMMIT, image="i",
        engine=Engine(max_num_seqs=sequences), manifests_sha256="aa",
    )  # fmt: skip
    return ReleaseRecord(release=release, documents=({"kind": "Deployment"},))


def a_rollout(release: Release, before: str | None = "r0") -> Rollout:
    return Rollout(
        release_id=release.id,
        revision=2,
        previous_release_id=before,
        strategy=Strategy.RECREATE,
        endpoint=Endpoint(base_url="http://gateway/v1", served_name="m", key_namespace="llm", key_secret="k"),
        gap_seconds=2.5,
    )
