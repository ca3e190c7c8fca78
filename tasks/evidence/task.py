"""Sign, check and fetch the evidence of releases, as Prefect tasks."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey

from tasks.cloud.aws import Aws, aws_errors
from tasks.evidence.bom import bill_of_materials
from tasks.evidence.envelope import KmsSigner, pem_of, read_public_key, seal
from tasks.evidence.made import made_before, staged_before
from tasks.evidence.model_signing import sign_model
from tasks.evidence.page import page
from tasks.evidence.statement import Evidence, statement_of, subjects_of
from tasks.evidence.store import Store
from tasks.evidence.verify import Expected, Verified, check_chain, check_expected, verify
from tasks.records.environment import Environment
from tasks.records.errors import ChecksumMismatch, EvidenceRefused, InputError
from tasks.records.model import Model
from tasks.records.names import staged_prefix
from tasks.records.results import Manifest, Promoted, Release, StagedModel
from tasks.releases.records import Made, ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.site import Site, aws_of
from tasks.task import SETTINGS, RunReporter, task

MODEL_SIG, BOM = "model.sig", "bom.cdx.json"


def store_of(site: Site, model: Model) -> Store:
    """The bundles of one model at this site."""
    return Store(site.aws().client("s3"), site.storage.bucket, site.name, model.name)


def public_key(aws: Aws, key: str) -> SSlibKey:
    """Ask KMS for the public half of the key that signs evidence. Raises CloudError, AccessDenied."""
    with aws_errors("reading the public key of the evidence"):
        return read_public_key(aws.client("kms").get_public_key(KeyId=key)["PublicKey"])


def key_of(site: Site) -> SSlibKey:
    """The key that this environment's evidence is trusted by. Raises InputError where terraform has made none yet."""
    if not site.storage.evidence_key_arn:
        raise InputError(
            f"{site.name} has no key that signs evidence yet",
            next_command=f"slipway deploy MODEL -e {site.name}: terraform makes it",
        )
    return public_key(site.aws(), site.storage.evidence_key_arn)


@task(task_run_name="sign the evidence of {model.name}", **SETTINGS)
def sign_evidence(
    site: Site,
    model: Model,
    record: ReleaseRecord,
    manifest: Manifest,
    made: Made | None = None,
    promoted: Promoted | None = None,
) -> str:
    """Sign what proved a release, chained to the evidence before; the bundle's address.

    Writes nothing where the newest bundle says the same already. `made`: None where this run made nothing; then it is
    taken from the newest signed evidence of the very release.
    Raises EvidenceRefused where the bundle before does not hold: a chain is not continued from it.
    """
    store, key, now = store_of(site, model), key_of(site), datetime.now(UTC)
    before = _newest(store, key, now)
    if record.report is None:
        raise InputError(f"release {record.release.id} has no load validation to sign")
    if before and _says_the_same(before.evidence, record, promoted):
        return store.newest_uri
    aws = site.aws()
    with aws_errors("asking AWS who we are"):
        approver = str(aws.client("sts").get_caller_identity()["Arn"])
    signer = KmsSigner(aws.client("kms"), site.storage.evidence_key_arn, key)
    made = made or (made_before(store, before, record.release, key, now) if before else None)
    sequence = before.evidence.sequence + 1 if before else 1
    began = time.perf_counter()
    with aws_errors("signing the model"):
        documents = {MODEL_SIG: sign_model(manifest, signer)}
    documents[BOM] = bill_of_materials(
        record.release,
        manifest,
        _config(site, record.release, manifest),
        sequence=sequence,
        at=now,
        slipway_version=version("slipway"),
        engine_version=made.engine_version if made else "",
    )
    statement = statement_of(
        record,
        manifest,
        Evidence(
            release=record.release,
            report=record.report,
            answers=record.answers,
            paired=record.paired,
            approved_by=approver,
            signed_at=now,
            slipway_version=version("slipway"),
            sequence=sequence,
            replaces=before.sha256 if before else None,
            catalogue_commit=ledger_of(site, model).record(record.release.id).made_from,
            made=made,
            approval=record.approval,
            promoted_from=promoted,
            staged_sha256=manifest.files_sha256,
            beside={name: hashlib.sha256(body).hexdigest() for name, body in documents.items()},
        ),
    )
    with aws_errors("signing the evidence"):
        body = seal(statement, signer)
    seconds = time.perf_counter() - began
    store.keep_beside(sequence, documents)
    address = store.keep(body, statement.predicate.sequence)
    RunReporter("evidence").say(f"signed in {seconds:.2f} s: {address}")
    return address


@task(task_run_name="hold {staged.repo} to its evidence", **SETTINGS)
def check_staged_evidence(site: Site, model: Model, staged: StagedModel) -> StagedModel:
    """Hold what a volume is filled with, or pods stream, to the signed evidence of the same commit, where this environment has some.

    Raises EvidenceRefused, ChecksumMismatch.
    """
    store, key, now = store_of(site, model), key_of(site), datetime.now(UTC)
    newest = _newest(store, key, now)
    signed = staged_before(store, newest, staged.repo, staged.commit, key, now) if newest else None
    reporter = RunReporter("evidence")
    if signed is None:
        reporter.say(
            "no signed evidence of this commit yet: what is staged is held to the hub's hashes alone"
        )
    elif signed[1] != staged.files_sha256:
        raise ChecksumMismatch(
            f"s3://{staged.bucket}/{staged.prefix} is not what evidence number {signed[0]} was signed for",
            evidence=[f"signed over its files: {signed[1]}", f"staged now: {staged.files_sha256}"],
            next_command=f"aws s3 rm --recursive s3://{staged.bucket}/{staged.prefix}/, then deploy again: it is staged anew",
        )
    else:
        reporter.say(f"what is staged is what evidence number {signed[0]} was signed for")
    return staged


def _config(site: Site, release: Release, manifest: Manifest) -> dict[str, Any]:
    """The model's config.json, where it has one; held to the manifest. Raises EvidenceRefused."""
    listed = {file.path: file.sha256 for file in manifest.files}
    if "config.json" not in listed:
        return {}
    with aws_errors("reading the model's config.json"):
        body: bytes = (
            site.aws()
            .client("s3")
            .get_object(
                Bucket=site.storage.bucket,
                Key=f"{staged_prefix(release.repo, release.commit)}/config.json",
            )["Body"]
            .read()
        )
    if hashlib.sha256(body).hexdigest() != listed["config.json"]:
        raise EvidenceRefused("wrong bytes: config.json in the bucket is not what was staged")
    found: dict[str, Any] = json.loads(body)
    return found


def _check_beside(store: Store, found: Verified) -> dict[str, bytes]:
    """The documents that a bundle names beside itself. Raises EvidenceRefused where one is gone or another."""
    documents = {}
    for name, sha256 in found.evidence.beside.items():
        body = store.beside(found.evidence.sequence, name)
        if body is None or hashlib.sha256(body).hexdigest() != sha256:
            raise EvidenceRefused(
                f"wrong bytes: {name} is {'gone' if body is None else 'not what was signed'}"
            )
        documents[name] = body
    return documents


def _says_the_same(evidence: Evidence, record: ReleaseRecord, promoted: Promoted | None) -> bool:
    return (
        evidence.made is not None
        and (evidence.release, evidence.report, evidence.answers)
        == (record.release, record.report, record.answers)
        and (promoted is None or promoted == evidence.promoted_from)
    )


@task(task_run_name="evidence of {model.name} in {site.name} holds", **SETTINGS)
def check_evidence(
    site: Site, model: Model, release: Release, manifest: Manifest, into: Environment
) -> Promoted:
    """Refuse to promote a release whose newest evidence is unsigned, broken, stale, foreign or out of its chain.

    Raises EvidenceRefused, which begins with what is wrong.
    """
    record = ledger_of(site, model).record(release.id)
    store, key, now = store_of(site, model), key_of(site), datetime.now(UTC)
    with _proving_again(model, site):
        found = _newest(store, key, now)
        if found is None:
            raise EvidenceRefused(f"unsigned: there is no evidence of {model.name} in {site.name}")
        proven = record.evidence
        if proven is None:
            raise EvidenceRefused(f"not proven: release {release.id} has no load validation")
        expected = Expected(
            release,
            subjects_of(release, record.documents, manifest),
            proven.started_at,
            seen_before(into, site.name, key.keyid, model, now),
        )
        check_expected(found, expected)
        _check_beside(store, found)
        _check_before(store, found, key, now)
    RunReporter("evidence").say(
        f"evidence number {found.evidence.sequence} of {site.name} holds: {found.sha256}"
    )
    return Promoted(
        environment=site.name,
        evidence_sha256=found.sha256,
        sequence=found.evidence.sequence,
        key_id=key.keyid,
    )


def seen_before(into: Environment, origin: str, key_id: str, model: Model, now: datetime) -> int:
    """The number of the evidence by which the model came in last, from the target's own signed bundle; else 1."""
    aws = aws_of(into)
    body = Store(aws.client("s3"), into.storage.model_bucket, into.name, model.name).newest()
    if body is None:
        return 1
    last = verify(
        body, public_key(aws, f"alias/{into.cluster.name}-evidence"), now=now
    ).evidence.promoted_from
    return last.sequence if last and (last.environment, last.key_id) == (origin, key_id) else 1


def explained_evidence(site: Site, model: Model, folder: Path | None) -> str:
    """The page about the newest bundle. `folder` gets it, what is kept beside it, the one before, the public key.

    Raises EvidenceRefused, InputError.
    """
    store, key, now = store_of(site, model), key_of(site), datetime.now(UTC)
    with _proving_again(model, site):
        body = store.newest()
        if body is None:
            raise EvidenceRefused(f"unsigned: there is no evidence of {model.name} in {site.name}")
        found = verify(body, key, now=now)
        older = _check_before(store, found, key, now)
        documents = _check_beside(store, found)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bundle.json").write_bytes(body)
        (folder / "public.pem").write_text(pem_of(key))
        for name, document in documents.items():
            (folder / name).write_bytes(document)
        if older:
            (folder / "previous.json").write_bytes(older)
    return page(found, key.keyid)


def _newest(store: Store, key: SSlibKey, now: datetime) -> Verified | None:
    body = store.newest()
    if body is None:
        return None
    try:
        return verify(body, key, now=now)
    except EvidenceRefused as error:
        raise EvidenceRefused(
            error.cause,
            evidence=[store.newest_uri, *error.evidence],
            next_command=f"aws s3 ls {store.numbered_uri}/ and copy the newest that `slipway verify` accepts over evidence.json",
        ) from error


def _check_before(store: Store, found: Verified, key: SSlibKey, now: datetime) -> bytes | None:
    """Follow the chain by one: the bundle that `found` replaces, None for the first."""
    if found.evidence.replaces is None:
        return None
    before = found.evidence.sequence - 1
    body = store.numbered(before)
    if body is None:
        raise EvidenceRefused(f"cut chain: evidence number {before} is gone")
    check_chain(found, verify(body, key, now=now))
    return body


@contextmanager
def _proving_again(model: Model, site: Site) -> Iterator[None]:
    """Give a refusal in the block its next command, where it has none."""
    try:
        yield
    except EvidenceRefused as error:
        again = f"slipway validate {model.name} -e {site.name}, which proves it again and signs"
        raise EvidenceRefused(
            error.cause, evidence=error.evidence, next_command=error.next_command or again
        ) from error
