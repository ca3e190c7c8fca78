"""Send one file: find or create its upload, send its parts, prove the whole before it becomes visible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tasks.records.errors import ChecksumMismatch, SlipwayError
from tasks.records.results import HubFile, StagedFile
from tasks.staging.addresses import FileAddress
from tasks.staging.buffers import Buffer
from tasks.staging.download import Downloader
from tasks.staging.folder import StagedFolder
from tasks.staging.hashes import SerialHash, combined, crc64nvme, encoded
from tasks.staging.journal import best_upload, staged_file
from tasks.staging.objects import AlreadyThere, DamagedPart, SentPart, UploadGone
from tasks.staging.parts import Part, cut, part_size
from tasks.staging.ranges import FileRange

SENDINGS = 3  # of one part, where S3 says it arrived damaged


class FileFlight:
    """One file whose parts several workers send; the last of them proves the file and completes it.

    `lost`: somebody else completed or aborted the upload, so the bucket has to be looked at again.
    """

    def __init__(
        self,
        folder: StagedFolder,
        address: FileAddress,
        downloader: Downloader,
        *,
        open_uploads: Sequence[str],
        floor: int,
    ) -> None:
        self.file: HubFile = address.file
        self.key = folder.key(self.file.path)
        self.part_size = part_size(self.file.size, floor)
        self.parts = cut(self.file.size, self.part_size)
        self.lost = False
        self._bucket, self._open_uploads = folder.bucket, open_uploads
        self._address, self._downloader, self._stop = address, downloader, downloader.link.stop
        self._lock = threading.Lock()
        self._hash: SerialHash | None = None
        self._upload: str | None = None
        self._sent: dict[int, SentPart] = {}
        self._etags: dict[int, str] = {}
        self._crcs: dict[int, int] = {}
        self._left = len(self.parts)

    def open(self) -> None:
        """Start the hash and find or create the multipart upload: once, by the first worker that comes."""
        with self._lock:
            if self._hash is not None:
                return
            self._hash = SerialHash(self.file, len(self.parts), self._stop)
            if len(self.parts) == 1:
                return
            sizes = {part.number: part.size for part in self.parts}
            best = best_upload(self._bucket, self.key, self._open_uploads, sizes)
            if best:
                self._upload, self._sent = best
            else:
                self._upload = self._bucket.create_upload(self.key)

    def fetch(
        self, part: Part, into: memoryview, arrived: Callable[[int], None] = lambda count: None
    ) -> None:
        """Read a part from the hub; `arrived(bytes)` as they come."""
        self._downloader.read(FileRange(self._address, part.offset, into, arrived))

    def arrive(self, part: Part, buffer: Buffer) -> None:
        """Queue the part in `buffer` for the hash, which holds the buffer until its turn has come."""
        if self._hash is None:
            raise RuntimeError("arrive() before open()")
        data = memoryview(buffer.data)[: part.size]
        self._crcs[part.number] = crc64nvme(data)
        buffer.hold()
        self._hash.feed(part.number - 1, data, buffer.release)

    def send(self, part: Part, buffer: Buffer) -> StagedFile | None:
        """Send a part that arrived in `buffer`. Returns the file's record when it was the last one.

        Raises ChecksumMismatch, after aborting the upload, where the file is not what the hub lists: its parts are then
        read again, to say which of them came differently.
        """
        data = memoryview(buffer.data)[: part.size]
        try:
            etag = self._send(part, data, self._crcs[part.number])
        except UploadGone:
            self.lose()
            return None
        with self._lock:
            self._etags[part.number] = etag
            self._left -= 1
            last = self._left == 0
        return self._finish(data, buffer) if last and not self.lost else None

    def lose(self) -> None:
        """Give the file up until the bucket is looked at again."""
        self.lost = True
        if self._hash is not None:
            self._hash.cancel()

    def _send(self, part: Part, data: memoryview, crc: int) -> str:
        """Returns the part's ETag. A part that S3 already holds with the same checksum is not sent again."""
        if self._upload is None:
            return ""
        there = self._sent.get(part.number)
        if there and there.crc64nvme == encoded(crc):
            return there.etag
        for sending in range(1, SENDINGS + 1):
            try:
                return self._bucket.send_part(self.key, self._upload, part.number, data, crc)
            except DamagedPart as error:
                if sending == SENDINGS:
                    self._bucket.abort(self.key, self._upload)
                    raise ChecksumMismatch(
                        f"{self.file.path}: {_named(part)} arrived at S3 damaged {SENDINGS} times",
                        evidence=[
                            str(error),
                            "the upload was aborted; nothing of this file is in the bucket",
                        ],
                        next_command="run the same command again: files that are whole stay",
                    ) from error
        raise AssertionError("every way out is above")

    def _finish(self, only_part: memoryview, buffer: Buffer) -> StagedFile | None:
        """Prove the file, then make it visible."""
        if self._hash is None:
            raise RuntimeError("finish before open()")
        whole = self._hash.result()
        wrong = whole.mismatch(self.file)
        if wrong:
            if self._upload:
                self._bucket.abort(self.key, self._upload)
            raise ChecksumMismatch(
                f"{self.file.path}: what arrived is not what the hub lists",
                evidence=[
                    wrong,
                    *self._suspects(buffer),
                    "the upload was aborted; nothing of this file is in the bucket",
                ],
                next_command="run the same command again: files that are whole stay",
            )
        parts = [(self._crcs[part.number], part.size) for part in self.parts]
        record = staged_file(self.file, whole.sha256, parts, self.part_size)
        try:
            if self._upload:
                etags = [self._etags[part.number] for part in self.parts]
                self._bucket.complete(self.key, self._upload, etags, self.file.size, record.crc64nvme)
            else:
                self._bucket.put(self.key, only_part, combined(parts))
        except UploadGone:
            self.lose()
            return None
        except AlreadyThere:
            return self._adopt(record)
        return record

    def _adopt(self, record: StagedFile) -> StagedFile | None:
        """Take another run's object for ours where the checksums agree."""
        head = self._bucket.head(self.key)
        if head is None or (head.size, head.crc64nvme) != (record.size, record.crc64nvme):
            self.lose()
            return None
        if self._upload:
            self._bucket.abort(self.key, self._upload)
        return record

    def _suspects(self, buffer: Buffer) -> list[str]:
        """Read all parts again and name those that come differently, ten at most."""
        differing: list[str] = []
        for part in self.parts:
            data = memoryview(buffer.data)[: part.size]
            try:
                if part.size:
                    self.fetch(part, data)
            except SlipwayError as error:
                return [*differing[:10], f"{_named(part)} could not be read again: {error.cause}"]
            if crc64nvme(data) != self._crcs[part.number]:
                differing.append(f"{_named(part)} came differently when it was read again")
        if not differing:
            return [f"all {len(self.parts)} parts come the same when read again: the hub keeps other bytes"]
        return differing[:10]


def _named(part: Part) -> str:
    return f"part {part.number} (bytes {part.offset} to {part.offset + part.size - 1})"
