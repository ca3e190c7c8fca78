"""Copy a staged model from one bucket to another, by S3 itself: the bytes that were proven, not fetched again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from tasks.records.errors import AccessDenied, ChecksumMismatch, StagingFailed
from tasks.records.progress import Reporter
from tasks.records.quantities import human_bytes
from tasks.records.results import StagedFile, StagedModel
from tasks.staging import model_manifest
from tasks.staging.folder import StagedFolder
from tasks.staging.objects import AlreadyThere, Bucket, UploadGone
from tasks.staging.parts import MIB, Part, cut

# CopyObject takes up to 5 GB, but one stream at a time: above this, parts are copied in parallel
ONE_CALL_AT_MOST = 1024 * MIB
COPY_PART = 512 * MIB


def promote_copy(
    staged: StagedModel,
    origin: Bucket,
    bucket: Bucket,
    reporter: Reporter,
    *,
    workers: int = 8,
    one_call_at_most: int = ONE_CALL_AT_MOST,
    copy_part: int = COPY_PART,
) -> StagedModel:
    """Copy `staged` from `origin` into `bucket` under the same prefix, the manifest last and byte for byte the same.

    S3 reads `origin` with the credentials of `bucket`.

    Objects that are there with the manifest's checksum are left alone, so a run that was killed goes on.
    `one_call_at_most` and `copy_part` in bytes. Raises StagingFailed, ChecksumMismatch, AccessDenied, CloudError.
    """
    source = StagedFolder(origin, staged.prefix)
    target = StagedFolder(bucket, staged.prefix)
    stored = _read_source(source, staged)
    if stored is None or stored.sha256 != staged.manifest_sha256:
        raise StagingFailed(
            f"{staged.uri} is not what was proven: its manifest {'has changed' if stored else 'is gone'}",
            evidence=[
                f"proven: {staged.manifest_sha256}",
                f"there: {stored.sha256 if stored else 'nothing'}",
            ],
            next_command="deploy and prove it again in the environment it comes from",
        )
    there = model_manifest.read(target)
    whole = there and not model_manifest.missing(there.manifest, target)
    if there and whole and there.sha256 == stored.sha256:
        reporter.say(f"{target.uri} is whole: nothing to copy")
        return model_manifest.staged_model(target, there, reused=True)
    if there and not whole:
        bucket.delete(target.manifest_key)
        there = None
    _Copier(source, target, one_call_at_most, copy_part).run(stored.manifest.files, reporter, workers)
    written = model_manifest.write(target, stored.body, replaces=there)
    return model_manifest.staged_model(target, written, reused=False)


def _read_source(source: StagedFolder, staged: StagedModel) -> model_manifest.StoredManifest | None:
    try:
        return model_manifest.read(source)
    except AccessDenied as error:
        raise AccessDenied(
            f"{staged.uri} may not be read with the credentials of the environment it is copied into",
            evidence=error.evidence,
            next_command=f"aws s3 ls {staged.uri}/ with those credentials; what they need: docs/running-on-aws.md, 7",
        ) from error


class _Copier:
    def __init__(
        self, source: StagedFolder, target: StagedFolder, one_call_at_most: int, copy_part: int
    ) -> None:
        self._source, self._folder, self._target = source, target, target.bucket
        self._one_call_at_most, self._copy_part = one_call_at_most, copy_part

    def run(self, files: tuple[StagedFile, ...], reporter: Reporter, workers: int) -> None:
        """Copy every file, parts of large ones in parallel. Raises the first failure once the parts under way have ended."""
        total = sum(file.size for file in files)
        copied = 0
        with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
            for number, file in enumerate(files, start=1):
                for size in self._copy(file, pool):
                    copied += size
                    reporter.progress(copied, total, detail=f"| {number} of {len(files)} files | {file.path}")
        reporter.say(f"{len(files)} files, {human_bytes(total)}, are in {self._folder.uri}")

    def _copy(self, file: StagedFile, pool: ThreadPoolExecutor) -> Iterator[int]:
        """Copy one file, yielding the bytes copied."""
        key = self._folder.key(file.path)
        head = self._target.head(key)
        if head and (head.size, head.crc64nvme) == (file.size, file.crc64nvme):
            yield file.size
            return
        if file.size <= self._one_call_at_most:
            self._target.copy(key, self._source.bucket)
            yield file.size
        else:
            if head:
                self._target.delete(key)  # not this file: a completed upload would find the name taken
            yield from self._copy_parts(file, key, pool)
        self._check(file, key)

    def _copy_parts(self, file: StagedFile, key: str, pool: ThreadPoolExecutor) -> Iterator[int]:
        upload = self._target.create_upload(key)
        parts = cut(file.size, self._copy_part)
        try:
            running = {pool.submit(self._one_part, key, upload, part): part for part in parts}
            etags: dict[int, str] = {}
            for future in as_completed(running):
                part = running[future]
                etags[part.number] = future.result()
                yield part.size
            in_order = [etags[part.number] for part in parts]
            self._target.complete(key, upload, in_order, file.size, file.crc64nvme)
        except (AlreadyThere, UploadGone):
            self._target.abort(key, upload)  # another run was first: its object is checked like ours
        except BaseException:
            self._target.abort(key, upload)
            raise

    def _one_part(self, key: str, upload: str, part: Part) -> str:
        return self._target.copy_part(key, upload, part.number, self._source.bucket, part.offset, part.size)

    def _check(self, file: StagedFile, key: str) -> None:
        head = self._target.head(key)
        if head is None or (head.size, head.crc64nvme) != (file.size, file.crc64nvme):
            there = f"{head.size} bytes, CRC64NVME {head.crc64nvme}" if head else "nothing"
            raise ChecksumMismatch(
                f"s3://{self._target.name}/{key} is not the file that was proven",
                evidence=[f"proven: {file.size} bytes, CRC64NVME {file.crc64nvme}", f"there: {there}"],
                next_command="run the same command again: files that are whole stay",
            )
