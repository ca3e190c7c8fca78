"""Find how a release was made in the chain of its signed evidence."""

from __future__ import annotations

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
    found: Verified | None = newest
    for _ in range(MOST_BACK):
        if found is None:
            return None
        if found.evidence.release == release and found.evidence.made:
            return found.evidence.made
        body = store.numbered(found.evidence.sequence - 1) if found.evidence.replaces else None
        older = verify(body, key, now=now) if body else None
        if older:
            check_chain(found, older)
        found = older
    return None
