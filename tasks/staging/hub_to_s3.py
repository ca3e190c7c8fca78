"""Stage a hub model into a bucket, whole or not at all: look, send what is missing, look again, write the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.records.errors import StagingFailed
from tasks.records.progress import Reporter
from tasks.records.quantities import human_bytes
from tasks.records.results import HubModel, StagedFile, StagedModel
from tasks.staging import model_manifest
from tasks.staging.addresses import FileAddress
from tasks.staging.download import Downloader
from tasks.staging.flight import FileFlight
from tasks.staging.folder import StagedFolder
from tasks.staging.journal import Action, Observed, observe, read_back, write_record
from tasks.staging.link import Hub
from tasks.staging.objects import Bucket
from tasks.staging.parts import DEFAULT_FLOOR, part_size
from tasks.staging.transfer import Transfer

# A second round is only needed where another run ended one of our uploads.
ROUNDS_AT_MOST = 10


def stage(
    model: HubModel,
    bucket: Bucket,
    hub: Hub,
    *,
    workers: int = 8,
    part_size_floor: int = DEFAULT_FLOOR,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> StagedModel:
    """Make `s3://BUCKET/REPO/COMMIT/` hold every file of `model`, proven, and the manifest last.

    `workers` threads read from the hub and as many send to S3; `part_size_floor` in bytes. A run that was killed leaves
    multipart uploads: the next one reads their parts from the hub again, for the sha256 of the file, and sends only those S3
    does not hold with the same checksum. Two runs at once end in one copy.
    Raises HubError, ChecksumMismatch, StagingFailed, AccessDenied, CloudError.
    """
    folder, say = StagedFolder.of(bucket, model.repo, model.commit), hub.reporter.say
    earlier = model_manifest.read(folder)
    replaced = earlier
    if earlier:
        gone = model_manifest.missing(earlier.manifest, folder)
        if not gone and model_manifest.describes(earlier.manifest, model):
            say(f"{folder.uri} is whole: {human_bytes(model.total_bytes)}, nothing to send")
            return model_manifest.staged_model(folder, earlier, reused=True)
        if gone:
            say(f"the manifest lists {', '.join(gone[:3])}, which the bucket has not: it goes first")
            bucket.delete(folder.manifest_key)
            replaced = None
    known = {file.path: file for file in earlier.manifest.files} if earlier else {}
    with hub.linked(workers) as link:
        staging = _Staging(model, folder, Downloader(link, say=say), hub.reporter, workers, part_size_floor)
        files = staging.converge(known)
    body = model_manifest.body_of(model_manifest.build(model, list(files.values()), now()))
    stored = model_manifest.write(folder, body, replaces=replaced)
    _tidy(folder)
    return model_manifest.staged_model(folder, stored, reused=False)


@dataclass(frozen=True)
class _Staging:
    """What one call of `stage` carries through its rounds."""

    model: HubModel
    folder: StagedFolder
    downloader: Downloader
    reporter: Reporter
    workers: int
    floor: int

    def converge(self, known: Mapping[str, StagedFile]) -> dict[str, StagedFile]:
        """Prove every file. Returns their records by path; `known`: those of an earlier manifest."""
        done: dict[str, StagedFile] = {}
        for number in range(ROUNDS_AT_MOST):
            if number:  # the other run may have ended, and its records gone with it
                stored = model_manifest.read(self.folder)
                known = {file.path: file for file in stored.manifest.files} if stored else known
            observed = observe(self.folder, self.model, {**known, **done})
            done = dict(observed.proven)
            self._settle(observed, done)
            if len(done) < len(self.model.files):
                done |= self._send(observed, done)
            if len(done) == len(self.model.files):
                return done
            self.reporter.say("another run ended an upload of ours: looking again at what is there")
        left = sorted({file.path for file in self.model.files} - done.keys())
        raise StagingFailed(
            f"other runs kept ending the uploads of {len(left)} files",
            evidence=left[:10],
            next_command="let the other runs end, then run the same command again",
        )

    def _settle(self, observed: Observed, done: dict[str, StagedFile]) -> None:
        """Read back objects that have no proof, and delete those that cannot be the file."""
        for file in self.model.files:
            action = observed.actions[file.path]
            if action is Action.READ_BACK:
                self.reporter.say(f"{file.path} is there without a record: reading it back")
                record = read_back(self.folder, file, part_size(file.size, self.floor))
                if record:
                    write_record(self.folder, record)
                    done[file.path] = record
                    continue
            if action in (Action.READ_BACK, Action.REPLACE):
                self.reporter.say(f"{file.path} in the bucket is not the hub's file: it is replaced")
                self.folder.bucket.delete(self.folder.key(file.path))

    def _send(self, observed: Observed, done: Mapping[str, StagedFile]) -> dict[str, StagedFile]:
        files = [file for file in self.model.files if file.path not in done]
        if done:
            self.reporter.say(f"{len(done)} of {len(self.model.files)} files are there already")
        flights = [
            FileFlight(
                self.folder,
                FileAddress(self.downloader.link, self.model.repo, self.model.commit, file),
                self.downloader,
                open_uploads=observed.uploads.get(file.path, []),
                floor=self.floor,
            )
            for file in files
        ]
        transfer = Transfer(self.folder, flights, self.downloader, self.reporter, workers=self.workers)
        transfer.run()
        return transfer.staged


def _tidy(folder: StagedFolder) -> None:
    """After the manifest: end open uploads and delete the records, which nothing needs any more."""
    for key, upload in folder.bucket.open_uploads(folder.key("")):
        folder.bucket.abort(key, upload)
    for key in folder.bucket.sizes(folder.records_prefix):
        folder.bucket.delete(key)
