"""`stage`: a hub model into a bucket, whole or not at all. Look, do what is missing, look again, write the manifest."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.records.errors import StagingFailed
from tasks.records.progress import Reporter
from tasks.records.quantities import human_bytes
from tasks.records.results import HubModel, StagedFile, StagedModel
from tasks.staging import manifest as manifests
from tasks.staging.addresses import FileAddress
from tasks.staging.backoff import Backoff
from tasks.staging.download import Downloader
from tasks.staging.flight import FileFlight
from tasks.staging.journal import (
    OWN_FOLDER,
    Observed,
    Step,
    observe,
    read_back,
    write_record,
)
from tasks.staging.objects import Bucket
from tasks.staging.parts import DEFAULT_FLOOR, part_size
from tasks.staging.session import HubSession, hub_endpoint
from tasks.staging.stop import Stop
from tasks.staging.transfer import Transfer

ROUNDS_AT_MOST = 10  # a second round is only needed where another run ended one of our uploads


def stage(
    model: HubModel,
    *,
    bucket: str,
    s3: Any,
    token: str | None,
    reporter: Reporter,
    endpoint: str | None = None,
    kms_key_arn: str | None = None,
    workers: int = 8,
    part_size_floor: int = DEFAULT_FLOOR,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> StagedModel:
    """Make `s3://bucket/REPO/COMMIT/` hold every file of `model`, proven, and the manifest last.

    `s3` is a boto3 client; `workers` threads read from the hub and as many send to S3; `part_size_floor` in bytes. A run that was killed
    leaves multipart uploads: the next one reads their parts from the hub again, for the sha256 of the file, and sends
    only those S3 does not hold with the same checksum. Two runs at once end in one copy.
    Raises HubError, ChecksumMismatch, StagingFailed, AccessDenied, CloudError.
    """
    store = Bucket(s3, bucket, kms_key_arn)
    prefix = manifests.prefix_of(model.repo, model.commit)
    earlier = manifests.read(store, prefix)
    if earlier:
        gone = manifests.missing(earlier.manifest, prefix, store.sizes(f"{prefix}/"))
        if not gone and manifests.describes(earlier.manifest, model):
            reporter.say(
                f"s3://{bucket}/{prefix} is whole: {human_bytes(model.total_bytes)}, nothing to send"
            )
            return manifests.staged_model(bucket, prefix, earlier, reused=True)
        if gone:
            reporter.say(f"the manifest lists {', '.join(gone[:3])}, which the bucket has not: it goes first")
            store.delete(manifests.manifest_key(prefix))
    known = {file.path: file for file in earlier.manifest.files} if earlier else {}
    stop = Stop()
    backoff = Backoff(stop, say=reporter.say, clock=clock, sleep=sleep, chance=chance)
    session = HubSession(hub_endpoint(endpoint), token, connections=workers)
    try:
        run = _Run(store, prefix, model, session, backoff, stop, reporter, token, workers, part_size_floor)
        files = run.converge(known)
    finally:
        session.close()
    body = manifests.body_of(manifests.build(model, list(files.values()), now()))
    replaced = earlier.etag if earlier and not gone else None
    stored = manifests.write(store, prefix, body, instead_of=replaced)
    _tidy(store, prefix)
    return manifests.staged_model(bucket, prefix, stored, reused=False)


class _Run:
    """What one call of `stage` carries through its rounds."""

    def __init__(
        self,
        store: Bucket,
        prefix: str,
        model: HubModel,
        session: HubSession,
        backoff: Backoff,
        stop: Stop,
        reporter: Reporter,
        token: str | None,
        workers: int,
        floor: int,
    ) -> None:
        self._store, self._prefix, self._model = store, prefix, model
        self._session, self._backoff, self._stop = session, backoff, stop
        self._reporter, self._workers, self._floor = reporter, workers, floor
        self._token_given = bool(token)
        self._downloader = Downloader(session, backoff, stop, token_given=self._token_given, say=reporter.say)

    def converge(self, known: Mapping[str, StagedFile]) -> dict[str, StagedFile]:
        """A record of every file, by path."""
        done: dict[str, StagedFile] = {}
        for number in range(ROUNDS_AT_MOST):
            if number:  # the other run may have come to its end, and its records gone with it
                stored = manifests.read(self._store, self._prefix)
                known = {file.path: file for file in stored.manifest.files} if stored else known
            observed = observe(self._store, self._prefix, self._model, {**known, **done})
            done = dict(observed.proven)
            self._settle(observed, done)
            if len(done) < len(self._model.files):
                done |= self._send(observed, done)
            if len(done) == len(self._model.files):
                return done
            self._reporter.say("another run ended an upload of ours: looking again at what is there")
        left = sorted({file.path for file in self._model.files} - done.keys())
        raise StagingFailed(
            f"other runs kept ending the uploads of {len(left)} files",
            evidence=left[:10],
            next_command="let the other runs end, then run the same command again",
        )

    def _settle(self, observed: Observed, done: dict[str, StagedFile]) -> None:
        """Objects that are there without proof: read them back; those that cannot be the file go."""
        for file in self._model.files:
            step = observed.steps[file.path]
            if step is Step.READ_BACK:
                self._reporter.say(f"{file.path} is there without a record: reading it back")
                record = read_back(self._store, self._prefix, file, part_size(file.size, self._floor))
                if record:
                    write_record(self._store, self._prefix, record)
                    done[file.path] = record
                    continue
            if step in (Step.READ_BACK, Step.REPLACE):
                self._reporter.say(f"{file.path} in the bucket is not the hub's file: it is replaced")
                self._store.delete(f"{self._prefix}/{file.path}")

    def _send(self, observed: Observed, done: Mapping[str, StagedFile]) -> dict[str, StagedFile]:
        files = [file for file in self._model.files if file.path not in done]
        if done:
            self._reporter.say(f"{len(done)} of {len(self._model.files)} files are there already")
        flights = [
            FileFlight(
                self._store,
                self._prefix,
                FileAddress(
                    self._session,
                    self._backoff,
                    self._model.repo,
                    self._model.commit,
                    file,
                    token_given=self._token_given,
                ),
                observed.uploads.get(file.path, []),
                self._floor,
                self._stop,
            )
            for file in files
        ]
        transfer = Transfer(
            self._store,
            self._prefix,
            flights,
            self._downloader,
            self._stop,
            self._reporter,
            workers=self._workers,
        )
        transfer.run()
        return transfer.staged


def _tidy(store: Bucket, prefix: str) -> None:
    """After the manifest: no open upload, no record is needed any more."""
    for key, upload in store.open_uploads(f"{prefix}/"):
        store.abort(key, upload)
    for key in store.sizes(f"{prefix}/{OWN_FOLDER}/files/"):
        store.delete(key)
