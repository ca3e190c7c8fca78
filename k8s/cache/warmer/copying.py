"""Copies missing files from S3 to the volume: fetched by several threads, verified in order, journalled.

Nothing counts until it is verified by the manifest: where the image has awscrt, each part by its CRC64NVME (31 GB/s on one
core); else each file by its sha256, which takes the parts in order (about 1.8 GB/s: it keeps up with all but the fastest gp3
volumes). vLLM's own image is not known to have awscrt.
"""

from __future__ import annotations

import hashlib
import mmap
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from disk import DiskErrors, Target
from exits import Exit, Failure, TornFile
from journal import Journal
from manifest import Wanted, checksums
from options import Options
from report import tell
from source import WINDOW, Source

MEMORY = 256 << 20  # of all buffers together; larger parts make them fewer
FEWEST_BUFFERS = 3


@dataclass
class Piece:
    """A range of one file. `index`: its place in the order all are verified in; `crc`: what verifies it alone, if any."""

    index: int
    file: Wanted
    offset: int
    size: int
    on_disk: bool
    last: bool
    crc: int | None

    @property
    def name(self) -> str:
        return f"{self.file.path}: bytes {self.offset} to {self.offset + self.size}"


class Copying:
    """One pass over the files that are missing. `copied`: bytes that came from S3."""

    def __init__(self, options: Options, source: Source, journal: Journal, files: list[Wanted]) -> None:
        self._options, self._source, self._journal = options, source, journal
        self._targets: dict[str, Target] = {}
        self._pieces = self._plan(files)
        self._room = max(WINDOW if file.by_part else self._chunk(file) for file in files)
        self._lock = threading.Lock()
        self._ready: dict[int, tuple[Piece, mmap.mmap]] = {}
        self._arrived = threading.Condition()
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._total = sum(file.size for file in files)
        self.copied = 0
        for file in files:
            with self._disk(f"making room for {file.path}"):
                self._targets[file.path] = Target(options.folder / file.path, file.size)

    def run(self) -> None:
        """Raises Failure, TornFile, or whatever ended a thread."""
        for _ in range(max(FEWEST_BUFFERS, min(self._options.threads + 2, MEMORY // self._room))):
            self._free.put(mmap.mmap(-1, self._room))
        threads = [threading.Thread(target=self._fetch, daemon=True) for _ in range(self._options.threads)]
        for thread in threads:
            thread.start()
        try:
            self._take_in_order()
        except Failure:
            self._fail(Failure(1, "another thread failed"))
            raise  # the process ends now, whatever the fetchers still wait for
        except TornFile:
            self._end(threads)
            raise
        self._end(threads)

    def _end(self, threads: list[threading.Thread]) -> None:
        """Close files only once nobody writes to them: the numbers of closed descriptors are used again."""
        self._fail(Failure(1, "over"))
        for thread in threads:
            while thread.is_alive():  # ends: every read has a time-out and a last attempt
                thread.join(5.0)
        for target in self._targets.values():
            target.close()

    def _plan(self, files: list[Wanted]) -> Iterator[Piece]:
        index = 0
        for file in files:
            held, chunk = self._journal.bytes.get(file.path, 0), self._chunk(file)
            for number, offset in enumerate(range(0, max(1, file.size), chunk)):
                size = min(chunk, file.size - offset)
                crc = file.parts[number] if file.by_part else None
                on_disk, last = offset + size <= held, offset + size == file.size
                yield Piece(index, file, offset, size, on_disk, last, crc)
                index += 1

    def _chunk(self, file: Wanted) -> int:
        return file.part_size if file.by_part else self._options.chunk

    def _fetch(self) -> None:
        try:
            while self._one_piece():
                pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that verifies
            self._fail(error)

    def _one_piece(self) -> bool:
        # A buffer first, then the next piece in order: what takes them in order never waits for one that has no buffer.
        try:
            buffer = self._free.get(timeout=0.5)
        except queue.Empty:
            return self._failure is None
        with self._lock:
            piece = None if self._failure else next(self._pieces, None)
        if piece is None:
            return False
        target, room = self._targets[piece.file.path], memoryview(buffer)
        if piece.on_disk and not self._is_right(piece, self._from_disk(piece, target, room), room):
            tell("note", text=f"{piece.name} on the volume are torn: they are fetched again")
            piece.on_disk = False
        if not piece.on_disk:
            self._copy(piece, target, room)
        with self._arrived:
            self._ready[piece.index] = (piece, buffer)
            self._arrived.notify_all()
        return True

    def _copy(self, piece: Piece, target: Target, room: memoryview) -> None:
        """From S3 to the disk, once more where it is not what the manifest says. Raises Failure."""
        if self._is_right(piece, self._from_s3(piece, target, room), room):
            return
        tell("note", text=f"{piece.name} were misread: they are fetched again")
        if not self._is_right(piece, self._from_s3(piece, target, room), room):
            cause = f"{piece.name} in S3 are not what the manifest says: their CRC64NVME differs"
            raise Failure(Exit.BAD_DATA, cause)

    def _is_right(self, piece: Piece, windows: Iterator[int], room: memoryview) -> bool:
        """Whether what passes through `room` is what the manifest says, as far as the piece alone can tell."""
        crc = 0
        for count in windows:
            if piece.crc is not None:
                crc = checksums.crc64nvme(room[:count], crc)
        return piece.crc is None or crc == piece.crc

    def _from_s3(self, piece: Piece, target: Target, room: memoryview) -> Iterator[int]:
        """Write window by window; a piece that turns out wrong is on the disk then, but in no journal."""
        offset = piece.offset
        for count in self._source.read(piece.file.path, offset, piece.size, room):
            with self._disk(f"writing {piece.file.path}"):
                target.write(room, count, offset)
            yield count
            offset += count

    def _from_disk(self, piece: Piece, target: Target, room: memoryview) -> Iterator[int]:
        for offset in range(piece.offset, piece.offset + piece.size, len(room)):
            count = min(len(room), piece.offset + piece.size - offset)
            with self._disk(f"reading {piece.file.path}"):
                target.read(room[:count], offset)
            yield count

    def _take_in_order(self) -> None:
        files = len(self._targets)
        index, done = 0, 0
        saved = last_progress = time.monotonic()
        current = hashlib.sha256()
        while files:
            piece, buffer = self._take(index)
            index += 1
            if piece.crc is None:
                view = memoryview(buffer)[: piece.size]
                current.update(view)
                view.release()
            self._free.put(buffer)
            done += piece.size
            self.copied += 0 if piece.on_disk else piece.size
            now = time.monotonic()
            if now - last_progress >= 0.5:
                last_progress = now
                tell("progress", done=done, total=self._total)
            if piece.last:
                self._prove(piece.file, piece.file.sha256 if piece.file.by_part else current.hexdigest())
                files -= 1
                current = hashlib.sha256()
            elif now - saved >= self._options.journal_seconds:
                saved = now
                with self._disk(f"flushing {piece.file.path}"):
                    self._targets[piece.file.path].flush()
                    self._journal.bytes[piece.file.path] = piece.offset + piece.size
                    self._journal.save()
        tell("progress", done=done, total=self._total)

    def _take(self, index: int) -> tuple[Piece, mmap.mmap]:
        with self._arrived:
            while index not in self._ready:
                if self._failure is not None:
                    raise self._failure
                self._arrived.wait(0.5)
            return self._ready.pop(index)

    def _prove(self, file: Wanted, sha256: str) -> None:
        """Finish a file whose digest is the manifest's, and journal it. Raises TornFile."""
        self._journal.bytes.pop(file.path, None)
        if sha256 != file.sha256:
            self._journal.save()
            cause = f"{file.path}: sha256 {sha256} was written, the manifest says {file.sha256}"
            raise TornFile(file.path, cause)
        with self._disk(f"finishing {file.path}"):
            self._targets[file.path].finish()
            self._journal.proven[file.path] = sha256
            self._journal.save()
        how = "past the page cache" if self._targets[file.path].is_direct else "through the page cache"
        proof = "CRC64NVME by part" if file.by_part else "sha256"
        tell("file", path=file.path, size=file.size, written=how, proof=proof)

    def _fail(self, error: BaseException) -> None:
        with self._arrived:
            self._failure = self._failure or error
            self._arrived.notify_all()

    def _disk(self, doing: str) -> DiskErrors:
        return DiskErrors(doing, self._options.root)
