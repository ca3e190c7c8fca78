"""Find how a release was made, and what was staged for it, in the chain of its signed evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from securesystemslib.signer import SSlibKey

from tasks.evidence.store import Store
from tasks.evidence.verify import Verified, check_chain, verify
from tasks.records.results import Release
from tasks.releases.records import Made

MOST_BACK = 100  # bundles that are read


def made_before(
    store: Store, newest: Verified, release: Release, key: SSlibKey, now: datetime
) -> Made | None:
    """How `release` was made, by the newest evidence of it in the chain; None where none is left."""
    for found in chain(store, newest, key, now):
        if found.evidence.release == release and found.evidence.made:
            return found.evidence.made
    return None


def staged_before(
    store: Store, newest: Verified, repo: str, commit: str, key: SSlibKey, now: datetime
) -> tuple[int, str] | None:
    """What the newest evidence of a commit says was staged: its number, and a hash over names, sizes and checksums."""
    for found in chain(store, newest, key, now):
        release = found.evidence.release
        if (release.repo, release.commit) == (repo, commit) and found.evidence.staged_sha256:
            return found.evidence.sequence, found.evidence.staged_sha256
    return None


def chain(store: Store, newest: Verified, key: SSlibKey, now: datetime) -> Iterator[Verified]:
    """Bundles from the newest back, each verified and the one that the one after it replaces. Raises EvidenceRefused."""
    found: Verified | None = newest
    for _ in range(MOST_BACK):
        if found is None:
            return
        yield found
        body = store.numbered(found.evidence.sequence - 1) if found.evidence.replaces else None
        older = verify(body, key, now=now) if body else None
        if older:
            check_chain(found, older)
        found = older
