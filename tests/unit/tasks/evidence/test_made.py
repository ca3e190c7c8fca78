"""How a release was made comes from the run that made it, or from the newest signed evidence of that very release."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.evidence.envelope import seal
from tasks.evidence.made import made_before, staged_before
from tasks.evidence.statement import Statement
from tasks.evidence.store import Store
from tasks.evidence.verify import Verified, verify
from tasks.records.errors import EvidenceRefused
from tasks.records.results import Feasibility, PreflightRow
from tasks.releases.records import Made
from tests.support.builders import INFRASTRUCTURE
from tests.support.evidence import NOW, a_proof, a_signer
from tests.support.reports import AT
from tests.support.stage import STORAGE

SIGNER = a_signer()
JUDGED = Feasibility(
    rows=(PreflightRow(check="cost", status="ok", detail="1.54 USD an hour"),),
    judged_at=datetime(2026, 1, 1, tzinfo=UTC),
    engine_version="0.32.0",
)
APPLIED = (
    STORAGE.model_copy(update={"plan": "no change"}),
    INFRASTRUCTURE.model_copy(update={"plan": "e" * 64}),
)


def test_a_deploy_says_what_preflight_judged_and_terraform_applied() -> None:
    made = Made.of(JUDGED, *APPLIED)
    assert made
    assert (made.preflight, made.price) == (JUDGED.rows, "1.54 USD an hour")
    assert made.plans == {"storage": "no change", "cluster": "e" * 64}


def test_a_deploy_that_began_with_a_later_stage_planned_nothing() -> None:
    made = Made.of(JUDGED, STORAGE, INFRASTRUCTURE)
    assert made
    assert made.plans == {"storage": "not planned", "cluster": "not planned"}


def test_where_preflight_did_not_run_nothing_was_made() -> None:
    assert Made.of(JUDGED.model_copy(update={"judged_at": None}), *APPLIED) is None


class Chain:
    """Bundles as a store would have them, each replacing the one before."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.newest: Verified | None = None

    def add(self, statement_seed: int, **over: Any) -> Statement:
        replaces = self.newest.sha256 if self.newest else None
        statement = a_proof(
            statement_seed, replaces=replaces, sequence=len(self.bodies) + 1, signed_at=AT, **over
        )
        body = seal(statement, SIGNER)
        self.bodies[statement.predicate.sequence] = body
        self.newest = verify(body, SIGNER.public_key, now=NOW)
        return statement

    def staged(self, repo: str, commit: str) -> tuple[int, str] | None:
        assert self.newest
        store = Store(None, "b", "staging", "llama")
        store.numbered = self.bodies.get  # type: ignore[assignment,method-assign]
        return staged_before(store, self.newest, repo, commit, SIGNER.public_key, NOW)

    def made(self, statement: Statement) -> Made | None:
        assert self.newest
        store = Store(None, "b", "staging", "llama")
        store.numbered = self.bodies.get  # type: ignore[assignment,method-assign]
        return made_before(store, self.newest, statement.predicate.release, SIGNER.public_key, NOW)


def test_what_was_staged_is_found_past_evidence_that_does_not_say_it() -> None:
    chain = Chain()
    wanted, _ = chain.add(1, staged_sha256="a" * 64), chain.add(2)  # as one of an older Slipway
    release = wanted.predicate.release
    assert chain.staged(release.repo, release.commit) == (1, "a" * 64)
    assert chain.staged(release.repo, "1" * 40) is None


def test_it_is_found_past_the_evidence_of_other_releases() -> None:
    chain = Chain()
    wanted, _ = chain.add(1), chain.add(2)
    assert chain.made(wanted) == wanted.predicate.made


def test_it_is_none_where_no_evidence_of_the_release_has_it() -> None:
    chain = Chain()
    wanted = chain.add(1, made=None)
    chain.add(2)
    assert chain.made(wanted) is None


def test_a_chain_that_was_cut_is_not_followed() -> None:
    chain = Chain()
    wanted, _ = chain.add(1), chain.add(2)
    other = Chain()
    other.add(1, made=None)
    chain.bodies[1] = other.bodies[1]
    with pytest.raises(EvidenceRefused, match="cut chain"):
        chain.made(wanted)
