"""Releases as the ledger keeps them."""

from __future__ import annotations

from tasks.records.model import Engine
from tasks.records.results import Release
from tasks.releases.records import ReleaseRecord
from tests.support.builders import COMMIT


def a_record(sequences: int) -> ReleaseRecord:
    release = Release(
        model="llama", environment="staging", repo="a/b", commit=COMMIT, image="i",
        engine=Engine(max_num_seqs=sequences), manifests_sha256="aa",
    )  # fmt: skip
    return ReleaseRecord(release=release, documents=({"kind": "Deployment"},))
