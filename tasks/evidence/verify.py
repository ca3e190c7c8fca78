"""Decide whether a bundle is evidence of what somebody expects. Pure: no account, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError
from securesystemslib.signer import SSlibKey

from tasks.evidence.envelope import open_envelope, read_json
from tasks.evidence.statement import (
    DIGEST,
    IMAGE,
    MANIFESTS,
    MODEL,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Evidence,
    Statement,
    Subject,
)
from tasks.records.errors import EvidenceRefused
from tasks.records.results import Release

CLOCKS_DIFFER = timedelta(minutes=10)


@dataclass(frozen=True)
class Verified:
    """A statement whose signature and contents hold; `sha256` names it in the chain."""

    statement: Statement
    sha256: str

    @property
    def evidence(self) -> Evidence:
        return self.statement.predicate


@dataclass(frozen=True)
class Expected:
    """What a promotion expects of the evidence: the ledger's release, and the files staged for it."""

    release: Release
    subjects: tuple[Subject, ...]
    proven_at: datetime
    sequence: int = 1  # of the newest evidence that this or a later environment has seen


def verify(body: bytes, key: SSlibKey, *, now: datetime) -> Verified:
    """The statement in a bundle signed by `key`. Raises EvidenceRefused, which begins with what is wrong."""
    opened = open_envelope(body, key)
    statement = _read(opened.payload)
    check_contents(statement, now)
    return Verified(statement, opened.sha256)


def _read(payload: bytes) -> Statement:
    document = read_json(payload)
    for field, wanted in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if document.get(field) != wanted:
            name = "predicate type" if field == "predicateType" else "statement type"
            raise EvidenceRefused(f"{name}: {document.get(field)!r} is not {wanted}")
    try:
        return Statement.model_validate_json(payload)
    except ValidationError as error:
        raise EvidenceRefused(
            "unreadable: the statement is not one this version knows", evidence=str(error).splitlines()[:6]
        ) from error


def check_contents(statement: Statement, now: datetime) -> None:
    """What holds of every honest statement, whoever signed it. Raises EvidenceRefused."""
    evidence = statement.predicate
    names = [subject.name for subject in statement.subject]
    if len(set(names)) != len(names):
        raise EvidenceRefused("subjects: a name stands twice")
    if not all(any(name.startswith(kind) for name in names) for kind in (MODEL, MANIFESTS)):
        raise EvidenceRefused("subjects: model files or manifests are missing", evidence=names[:10])
    if by_digest := DIGEST.search(evidence.release.image):
        signed = [
            subject.digest.get("sha256") for subject in statement.subject if subject.name.startswith(IMAGE)
        ]
        if signed != [by_digest[1]]:
            raise EvidenceRefused(
                "subjects: the image is not the release's", evidence=[evidence.release.image]
            )
    approval = evidence.approval
    if not evidence.approved_by.strip() or (approval and not approval.approver.strip()):
        raise EvidenceRefused("not approved: nobody is named")
    if evidence.report.verdict != "PASS":
        raise EvidenceRefused(
            f"not proven: its load validation is {evidence.report.verdict}", evidence=evidence.report.reasons
        )
    if any(not objective.holds for objective in evidence.report.objectives):
        raise EvidenceRefused("not proven: an objective of its load validation does not hold")
    if evidence.answers and evidence.answers.verdict != "PASS":
        raise EvidenceRefused("not proven: its answers failed", evidence=evidence.answers.reasons)
    if evidence.paired and evidence.paired.verdict == "FAIL":
        raise EvidenceRefused("not proven: its pairs failed", evidence=evidence.paired.reasons)
    made = evidence.made
    if made and (failed := [row for row in made.preflight if row.status == "fail"]):
        raise EvidenceRefused(
            "not proven: a row of its preflight table failed", evidence=[failed[0].check, failed[0].detail]
        )
    if made and made.judged_at > evidence.signed_at + CLOCKS_DIFFER:
        raise EvidenceRefused("clock: its preflight is of after it was signed")
    if evidence.signed_at > now + CLOCKS_DIFFER:
        raise EvidenceRefused(
            f"clock: it was signed at {evidence.signed_at:%Y-%m-%d %H:%M} UTC, in the future"
        )
    if (evidence.sequence == 1) != (evidence.replaces is None):
        raise EvidenceRefused("cut chain: only the first evidence replaces none")


def check_chain(newer: Verified, older: Verified) -> None:
    """Whether `newer` replaces `older`. Raises EvidenceRefused."""
    now, before = newer.evidence, older.evidence
    if now.replaces != older.sha256 or now.sequence != before.sequence + 1:
        raise EvidenceRefused(
            "cut chain: it does not replace the bundle given as the one before",
            evidence=[
                f"replaces: {now.replaces}, as number {now.sequence}",
                f"before: {older.sha256}, number {before.sequence}",
            ],
        )
    if (now.release.model, now.release.environment) != (before.release.model, before.release.environment):
        raise EvidenceRefused("cut chain: the bundle before is of another model or environment")
    if before.signed_at > now.signed_at:
        raise EvidenceRefused("cut chain: the bundle before was signed later")


def check_expected(found: Verified, expected: Expected) -> None:
    """Whether it is the evidence of this release, with these bytes, and the newest. Raises EvidenceRefused."""
    evidence, release = found.evidence, expected.release
    for what, there, wanted in (
        ("wrong model", evidence.release.model, release.model),
        ("wrong environment", evidence.release.environment, release.environment),
    ):
        if there != wanted:
            raise EvidenceRefused(f"{what}: it is of {there}, not of {wanted}")
    if evidence.sequence < expected.sequence:
        raise EvidenceRefused(
            f"stale: it is number {evidence.sequence}, and number {expected.sequence} has been seen"
        )
    if evidence.release != release:
        raise EvidenceRefused(
            f"stale: it is of release {evidence.release.id}, not of {release.id}",
            evidence=_changed(evidence.release, release),
        )
    if evidence.report.started_at != expected.proven_at:
        raise EvidenceRefused(
            f"stale: it holds the load validation of {evidence.report.started_at}, "
            f"and the ledger that of {expected.proven_at}"
        )
    if evidence.made is None:
        raise EvidenceRefused(
            "incomplete: it has no preflight table, no terraform plan and no price",
            next_command=f"slipway deploy {release.model} -e {release.environment}, which signs with them",
        )
    if not DIGEST.search(release.image):
        raise EvidenceRefused(
            f"moving image: {release.image} is a tag, and no digest",
            next_command=f"write engine.image with its digest, and slipway deploy {release.model} -e {release.environment}",
        )
    if different := differing(statement_subjects=found.statement.subject, there=expected.subjects):
        raise EvidenceRefused("wrong bytes: what is there is not what was signed", evidence=different[:10])


def differing(*, statement_subjects: Sequence[Subject], there: Sequence[Subject]) -> list[str]:
    """What is signed and not there, there and not signed, or there with another sha256."""
    signed = {subject.name: subject.digest["sha256"] for subject in statement_subjects}
    found = {subject.name: subject.digest["sha256"] for subject in there}
    return [
        f"{name}: signed {signed.get(name, 'not')}, there {found.get(name, 'not')}"
        for name in sorted(signed.keys() | found.keys())
        if signed.get(name) != found.get(name)
    ]


def _changed(signed: Release, there: Release) -> list[str]:
    before, now = signed.model_dump(mode="json"), there.model_dump(mode="json")
    return [
        f"{name}: signed {before[name]}, there {now[name]}" for name in before if before[name] != now[name]
    ]
