"""The statement about a proven release: what it is made of, and what proved it. Pure.

In-toto Statement v1: github.com/in-toto/attestation, spec/v1/statement.md and spec/v1/resource_descriptor.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tasks.records.answers import AnswersReport
from tasks.records.pairs import Paired
from tasks.records.record import Record
from tasks.records.reports import LoadReport
from tasks.records.results import Manifest, Promoted, Release
from tasks.releases.records import Approval, Made, ReleaseRecord

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:slipway:release-evidence:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MODEL, ADAPTER, MANIFESTS, IMAGE = "model/", "adapter/", "kubernetes/", "image/"
DIGEST = re.compile(r"@sha256:([0-9a-f]{64})$")


class Subject(Record):
    """An artifact by its digest: a ResourceDescriptor."""

    name: str
    digest: dict[Literal["sha256"], str] = Field(min_length=1)


class Evidence(Record):
    """The predicate: how a release was made and proven. What was not known when it was signed is None."""

    release: Release = Field(description="commit, image, engine flags, environment")
    report: LoadReport
    answers: AnswersReport | None = Field(None, description="to the golden prompts, where the model has some")
    paired: Paired | None = Field(
        None, description="beside the release before it, where both were asked in pairs"
    )
    approved_by: str = Field(description="the AWS identity whose run proved or promoted it: run by")
    signed_at: datetime
    slipway_version: str
    sequence: int = Field(ge=1, description="1 for the first evidence of a model in an environment")
    replaces: str | None = Field(description="sha256 of the payload of the evidence before, the chain")
    catalogue_commit: str | None = Field(
        None, description="of the project's files, where the release was made from a known one"
    )
    made: Made | None = Field(
        None, description="preflight table, terraform plans, price, engine version of the deploy that made it"
    )
    approval: Approval | None = Field(None, description="by whom it came into a protected environment")
    promoted_from: Promoted | None = None
    staged_sha256: str | None = Field(
        None, description="over path, size, sha256 and CRC64NVME of each staged file of the model"
    )
    beside: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="documents that are kept beside it, by name, with their sha256"
    )


class Statement(Record):
    """An in-toto Statement v1 with evidence as its predicate."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["urn:slipway:release-evidence:v1"] = "urn:slipway:release-evidence:v1"  # noqa: N815
    predicate: Evidence

    def payload(self) -> bytes:
        """The bytes that are signed."""
        document = self.model_dump(mode="json", by_alias=True)
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def subjects_of(
    release: Release, documents: Sequence[Mapping[str, Any]], manifest: Manifest
) -> tuple[Subject, ...]:
    """Files of the model and its adapters, each rendered manifest, and the image where it is named by digest, by sha256."""
    found = [
        *(Subject(name=MODEL + file.path, digest={"sha256": file.sha256}) for file in manifest.files),
        *(
            Subject(name=f"{ADAPTER}{lora.name}/{file.path}", digest={"sha256": file.sha256})
            for lora, adapter in zip(release.engine.lora, manifest.adapters, strict=True)
            for file in adapter.files
        ),
        *(_rendered(document) for document in documents),
    ]
    if by_digest := DIGEST.search(release.image):
        found.append(Subject(name=IMAGE + release.image, digest={"sha256": by_digest[1]}))
    return tuple(sorted(found, key=lambda subject: subject.name))


def _rendered(document: Mapping[str, Any]) -> Subject:
    meta = document["metadata"]
    name = "/".join(filter(None, (document["kind"], meta.get("namespace"), meta["name"])))
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return Subject(name=MANIFESTS + name, digest={"sha256": hashlib.sha256(body).hexdigest()})


def statement_of(record: ReleaseRecord, manifest: Manifest, evidence: Evidence) -> Statement:
    """The statement about a record of the ledger and the model staged for it."""
    return Statement(subject=subjects_of(record.release, record.documents, manifest), predicate=evidence)
