"""The ledger of releases in S3: what serves, what served before, what is being rolled out. Written before anything changes.

    releases/{environment}/{model}/{release}.json   the release, its manifests, the endpoint they made, its proof
    releases/{environment}/{model}/{release}/       its load reports' pages, and the log of an engine that failed
    releases/{environment}/{model}/serving.json     {"serving": id, "previous": id, "rolling": id}
    releases/{environment}/{model}/drills.json      what drills saw of its promises
    releases/{environment}/{model}/watched.json     new commits of the hub, and what became of them
    releases/{environment}/{model}/measured.json    the numbers a sweep measured, which the next deploys take

A run that dies leaves `rolling` set; tasks/rollout/restore.py reads from it what to put back.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import aws_errors, error_code
from tasks.records.answers import AnswersReport
from tasks.records.drills import Drilled, Drills
from tasks.records.errors import UnknownName
from tasks.records.record import Record
from tasks.records.reports import LoadPage, LoadReport, Sweep
from tasks.records.watching import Watched, WatchedCommits
from tasks.releases.measured import MeasuredNumbers
from tasks.releases.records import ReleaseRecord

# of a release that is rolled out again: its last proof, its answers, its pairs, its knee, who approved it, how it loads
KEPT = ("proven_by", "answers", "paired", "sweep", "approval", "weights")


class Serving(Record):
    """The ids of the release that serves, of the one before, and of one that has not passed its gates yet.

    `returned`: `serving` was put back and nothing was proven since; another rollback then changes nothing.
    """

    serving: str | None = None
    previous: str | None = None
    rolling: str | None = None
    returned: bool = False


class Ledger:
    """The releases of one model in one environment's model bucket. `made_from`: the commit of the project's files now."""

    def __init__(
        self, s3: Any, bucket: str, environment: str, model: str, made_from: str | None = None
    ) -> None:
        self._s3, self._bucket = s3, bucket
        self._folder = f"releases/{environment}/{model}"
        self.model = model
        self._made_from = made_from

    def serving(self) -> Serving:
        document = self._read(f"{self._folder}/serving.json")
        return Serving.model_validate(document) if document else Serving()

    def find(self, release_id: str) -> ReleaseRecord | None:
        document = self._read(f"{self._folder}/{release_id}.json")
        return ReleaseRecord.model_validate(document) if document else None

    def record(self, release_id: str) -> ReleaseRecord:
        """Raises UnknownName where there is no such release."""
        if found := self.find(release_id):
            return found
        raise UnknownName(
            f"there is no release {release_id!r} of {self.model}",
            next_command=f"aws s3 ls s3://{self._bucket}/{self._folder}/",
        )

    def commits(self) -> list[str]:
        """Commits of the releases that serve, that served before, or that are being rolled out."""
        now = self.serving()
        ids = [found for found in (now.serving, now.previous, now.rolling) if found]
        releases = [self.record(release_id).release for release_id in ids]
        adapters = {lora.revision for release in releases for lora in release.engine.lora}
        return sorted({release.commit for release in releases} | adapters)

    def begin(self, record: ReleaseRecord) -> Serving:
        """Write the release with the commit it is made from, and that it is being rolled out. Idempotent."""
        self._write_record(record.model_copy(update={"made_from": self._made_from}), KEPT)
        return self._write_serving(self.serving().model_copy(update={"rolling": record.release.id}))

    def proven(self, record: ReleaseRecord) -> Serving:
        """The release being rolled out passed every gate: it serves now."""
        self._write_record(record.model_copy(update={"proven_by": record.report}))
        before = self.serving()
        return self._write_serving(after_proof(before, record.release.id))

    def keep(self, record: ReleaseRecord) -> None:
        """Write the release again, with its evidence or starts. What serves does not change."""
        self._write_record(record)

    def swept(self, record: ReleaseRecord, sweep: Sweep) -> None:
        """Write a sweep's outcome into the release it was made on."""
        self._write_record(record.model_copy(update={"sweep": sweep}))

    def last_proven(self) -> tuple[str, LoadReport] | None:
        """(release, report) of the last validation passed by the release that serves, else by the one before."""
        known = self.serving()
        for release_id in (known.serving, known.previous):
            if release_id is None:
                continue
            record = self.record(release_id)
            passed = record.proven_by or record.report
            if passed is not None and passed.verdict == "PASS":
                return release_id, passed
        return None

    def last_answers(self) -> tuple[str, AnswersReport] | None:
        """(release, report) of the release that serves, else of the one before; None where neither was asked."""
        known = self.serving()
        for release_id in filter(None, (known.serving, known.previous)):
            if answers := self.record(release_id).answers:
                return release_id, answers
        return None

    def last_swept(self) -> tuple[str, Sweep] | None:
        """(release, sweep) of the release that serves, else of the one before."""
        known = self.serving()
        for release_id in filter(None, (known.serving, known.previous)):
            if sweep := self.record(release_id).sweep:
                return release_id, sweep
        return None

    def measured(self) -> MeasuredNumbers | None:
        """The numbers that a sweep measured and a release was proven with; None where none was applied."""
        document = self._read(f"{self._folder}/measured.json")
        return MeasuredNumbers.model_validate(document) if document else None

    def keep_measured(self, numbers: MeasuredNumbers) -> None:
        """Write the numbers that the next deploys take."""
        self._write(f"{self._folder}/measured.json", numbers)

    def drills(self) -> Drills:
        """What drills saw of each promise."""
        document = self._read(f"{self._folder}/drills.json")
        return Drills.model_validate(document) if document else Drills()

    def keep_drilled(self, drilled: Drilled) -> None:
        """Write one more result beside the others."""
        self._write(f"{self._folder}/drills.json", self.drills().after(drilled))

    def watched(self) -> WatchedCommits:
        """The newest commits of the hub that were decided about."""
        document = self._read(f"{self._folder}/watched.json")
        return WatchedCommits.model_validate(document) if document else WatchedCommits()

    def keep_watched(self, one: Watched) -> None:
        """Write what became of one more commit."""
        self._write(f"{self._folder}/watched.json", self.watched().after(one))

    def keep_page(self, release_id: str, name: str, page: LoadPage) -> str:
        """NAME.html and NAME.json beside the release; the page's address, s3://…"""
        key = f"{self._folder}/{release_id}/{name}"
        for suffix, kind, text in (
            ("json", "application/json", page.document),
            ("html", "text/html; charset=utf-8", page.html),
        ):
            with aws_errors("writing a load report"):
                self._s3.put_object(
                    Bucket=self._bucket, Key=f"{key}.{suffix}", Body=text.encode(), ContentType=kind
                )
        return f"s3://{self._bucket}/{key}.html"

    def keep_log(self, release_id: str, log: str) -> str:
        """The log of the release's last engine that failed, beside the release; its address, s3://…"""
        key = f"{self._folder}/{release_id}/engine.log"
        with aws_errors("writing an engine's log"):
            self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=log.encode(), ContentType="text/plain; charset=utf-8"
            )
        return f"s3://{self._bucket}/{key}"

    def restored(self, release_id: str | None, *, asked_for: bool = False) -> Serving:
        """Write that `release_id` serves again (None: nothing does). `asked_for`: a person named it."""
        return self._write_serving(after_return(self.serving(), release_id, asked_for=asked_for))

    def _write_record(self, record: ReleaseRecord, keep: tuple[str, ...] = (*KEPT, "made_from")) -> None:
        """Write a release; what of `keep` it does not say stays as it was."""
        key = f"{self._folder}/{record.release.id}.json"
        known = self._read(key)
        if known:
            before = ReleaseRecord.model_validate(known)
            kept = {name: getattr(record, name) or getattr(before, name) for name in keep}
            record = record.model_copy(update=kept)
        self._write(key, record)

    def _write_serving(self, serving: Serving) -> Serving:
        self._write(f"{self._folder}/serving.json", serving)
        return serving

    def _read(self, key: str) -> Any:
        with aws_errors("reading the release ledger"):
            try:
                return json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return None
                raise

    def _write(self, key: str, record: Record) -> None:
        with aws_errors("writing the release ledger"):
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=record.model_dump_json(indent=1).encode(),
                ContentType="application/json",
            )


def after_return(before: Serving, release_id: str | None, *, asked_for: bool) -> Serving:
    """State after a rollback. Idempotent; only an explicit `--release` can be rolled back again. Pure."""
    if asked_for and before.serving != release_id:
        return Serving(serving=release_id, previous=before.serving)
    previous = before.previous if before.previous != release_id else None
    return Serving(serving=release_id, previous=previous, returned=not asked_for)


def after_proof(before: Serving, release_id: str) -> Serving:
    """State after a proof. Idempotent: the release that served before stays the previous one. Pure."""
    if before.serving == release_id:
        return Serving(serving=release_id, previous=before.previous)
    return Serving(serving=release_id, previous=before.serving)
