"""Fills a volume with a staged model. Runs by itself in the engine's image: the standard library and boto3.

Every file of the manifest is read from S3 in ranges by several threads and written past the page cache where the file
system takes that. Nothing counts until it is proven by the manifest: where the image has awscrt, each part by its CRC64NVME
(31 GB/s on one core); else each file by its sha256, which takes the parts in order (about 1.8 GB/s: it keeps up with all but
the fastest gp3 volumes). vLLM's own image is not known to have awscrt.

Restarts go on where the last run stopped: `.slipway-progress.json` holds, for each file, how many bytes are on the disk;
those are read back from the disk, not from S3, and proven again. `.slipway-complete.json` is written last.

Lines for whoever watches start with "SLIPWAY " and hold one JSON object with `event`: start, progress, file, note, error,
done. Exit codes: 0 done, 28 no space, 65 a checksum or the manifest is wrong, 66 not in S3, 69 S3 does not answer,
74 the disk fails, 75 another warming holds the volume, 77 access denied (the numbers of sysexits.h; 28 is ENOSPC).
"""

from __future__ import annotations

import argparse
import base64
import errno
import fcntl
import hashlib
import json
import mmap
import os
import queue
import re
import shutil
import ssl
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.httpsession import get_cert_path

try:
    from awscrt import checksums
except ImportError:
    checksums = None

NO_SPACE, BAD_DATA, NOT_FOUND, NO_ANSWER, BAD_DISK, BUSY, DENIED = 28, 65, 66, 69, 74, 75, 77
MARKER, PROGRESS, LOCK = ".slipway-complete.json", ".slipway-progress.json", ".slipway.lock"
BLOCK = 4096  # what O_DIRECT wants lengths and offsets to be multiples of
WINDOW = 1 << 20  # read, written and counted at once: while it is in the processor's caches
MEMORY = 256 << 20  # of all buffers together; larger parts make them fewer
FEWEST_BUFFERS = 3
ATTEMPTS = 6
READ_SECONDS, URL_SECONDS = 60.0, 900
_SPEAKING = threading.Lock()
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Failure(Exception):
    """Why it ends: an exit code and one sentence."""

    def __init__(self, code: int, cause: str) -> None:
        super().__init__(cause)
        self.code, self.cause = code, cause


class TornFile(Exception):
    """A file on the disk is not what it should be, through an earlier run, on the way or by the disk: it is fetched whole
    once more."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path)
        self.path, self.cause = path, cause


@dataclass(frozen=True)
class Wanted:
    """One file of the manifest. `size` in bytes; `parts`: the CRC64NVME of each `part_size` bytes."""

    path: str
    size: int
    sha256: str
    part_size: int = 0
    parts: tuple[int, ...] = ()

    @property
    def by_part(self) -> bool:
        """Whether each part is proven on its own, as it comes."""
        return (
            checksums is not None
            and self.part_size > 0
            and self.part_size % BLOCK == 0
            and len(self.parts) == max(1, -(-self.size // self.part_size))
        )


@dataclass(frozen=True)
class Revision:
    """One commit's folder on the volume. `size` in bytes; `used`: when it was last warmed, in seconds."""

    folder: Path
    size: int
    used: float

    @property
    def commit(self) -> str:
        return self.folder.name


def to_evict(
    held: Sequence[Revision], *, needed: Collection[str], spare: int, missing: int, free: int
) -> list[Revision]:
    """What goes, the longest unused first and never a commit that is needed: all but the `spare` last used, then as
    many of those as it takes for `missing` bytes to fit where `free` are."""
    loose = sorted((each for each in held if each.commit not in needed), key=lambda each: each.used)
    beyond = max(0, len(loose) - spare)
    going = loose[:beyond]
    for each in loose[beyond:]:
        if missing <= free + sum(gone.size for gone in going):
            break
        going.append(each)
    return going


@dataclass
class Options:
    """`needed`: commits that are never removed; `spare`: how many others stay while there is room. `chunk` in bytes, a
    multiple of 4096. `grow_seconds`: how long room is waited for."""

    bucket: str
    prefix: str
    repo: str
    commit: str
    manifest_sha256: str
    root: Path
    needed: tuple[str, ...] = ()
    spare: int = 0
    threads: int = 8
    chunk: int = 16 << 20
    journal_seconds: float = 2.0
    grow_seconds: float = 0.0

    @property
    def repo_folder(self) -> Path:
        return self.root / self.repo.replace("/", "--")

    @property
    def folder(self) -> Path:
        return self.repo_folder / self.commit


def tell(event: str, **fields: Any) -> None:
    """One line, whole: several threads speak, and print() writes a line's end apart from the line."""
    with _SPEAKING:
        print("SLIPWAY " + json.dumps({"event": event, **fields}), flush=True)


def disk_failure(error: OSError, doing: str, root: Path) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(root).free
        return Failure(NO_SPACE, f"no space left on the volume while {doing}: {free} bytes are free")
    return Failure(BAD_DISK, f"the volume fails while {doing}: {error}")


def write_durably(path: Path, document: Any) -> None:
    """The whole file or the old one, also after the node goes down."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """Empty where there is none; one that was torn counts as none: then more is fetched, never less."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Wire:
    """Ranged GETs over a connection a thread, by presigned URLs, so that a body is read straight into the caller's memory:
    on its way through boto3 it is copied three times, under the interpreter's lock, which costs more than the hash."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket
        self._here = threading.local()
        self._trusted = ssl.create_default_context(cafile=get_cert_path(True))

    def open(self, key: str, first: int, last: int) -> HTTPResponse:
        """The answer to bytes `first` to `last`, its body unread. Raises Failure, ConnectionError where another try may
        help, and what sockets and botocore raise."""
        parameters = {"Bucket": self._bucket, "Key": key}
        url = urlsplit(
            self._s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_SECONDS)
        )
        connection = self._connection(url.scheme, url.netloc)
        span = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        connection.request("GET", f"{url.path}?{url.query}", headers=span)
        answer = connection.getresponse()
        where = f"s3://{self._bucket}/{key}"
        if answer.status == 206:
            told = answer.getheader("Content-Range", "")
            if not told.startswith(f"bytes {first}-{last}/"):
                raise Failure(BAD_DATA, f"{where}: asked for bytes {first} to {last}, got {told!r}")
            return answer
        words = answer.read(WINDOW).decode(errors="replace")
        code = next(iter(_S3_CODE.findall(words)), str(answer.status))
        self.drop()
        if answer.status == 429 or answer.status >= 500:
            raise ConnectionError(f"{answer.status} {code}")
        if answer.status in (200, 416):
            raise Failure(BAD_DATA, f"{where} is not as long as the manifest says: {answer.status} {code}")
        raise refused(code, where, f"{answer.status} {code}")

    def drop(self) -> None:
        """Forget this thread's connection: what is left on it belongs to nobody."""
        connection = self._here.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def _connection(self, scheme: str, host: str) -> HTTPConnection:
        found: HTTPConnection | None = getattr(self._here, "connection", None)
        if found is None:
            if scheme == "https":
                found = HTTPSConnection(host, timeout=READ_SECONDS, context=self._trusted)
            else:
                found = HTTPConnection(host, timeout=READ_SECONDS)
            self._here.connection = found
        return found


class Source:
    """The staged model in S3."""

    def __init__(self, s3: Any, options: Options) -> None:
        self._s3, self._options = s3, options
        self._wire = Wire(s3, options.bucket)

    def manifest(self) -> list[Wanted]:
        body = self._small(".slipway/manifest.json")
        found = hashlib.sha256(body).hexdigest()
        if found != self._options.manifest_sha256:
            raise Failure(
                BAD_DATA,
                f"the manifest is not the one that was staged: {found}, not {self._options.manifest_sha256}",
            )
        files = [
            Wanted(f["path"], f["size"], f["sha256"], f.get("part_size", 0), _checksums(f.get("parts", ())))
            for f in json.loads(body)["files"]
        ]
        for file in files:
            if PurePosixPath(file.path).is_absolute() or ".." in PurePosixPath(file.path).parts:
                raise Failure(BAD_DATA, f"the manifest lists a path outside its folder: {file.path}")
        return files

    def read(self, path: str, offset: int, size: int, room: memoryview) -> Iterator[int]:
        """`size` bytes from `offset` through `room`: says how many are at its start each time it is full, and at the end.
        A broken connection costs only what had not arrived."""
        taken = got = attempt = 0
        while taken + got < size:
            before = taken + got
            problem: Exception | None = None
            try:
                answer = self._wire.open(self._key(path), offset + before, offset + size - 1)
                while problem is None and taken + got < size:
                    count = answer.readinto(room[got : min(got + WINDOW, size - taken)])
                    got += count
                    if not count:
                        problem = EOFError("the body ended early")
                    elif got == len(room) or taken + got == size:
                        yield got
                        taken, got = taken + got, 0
            except NoCredentialsError as error:
                raise Failure(DENIED, f"{path}: no AWS credentials any more") from error
            except (BotoCoreError, OSError, HTTPException) as error:
                problem = error
            if problem is None:
                return
            self._wire.drop()
            attempt = 1 if taken + got > before else attempt + 1
            if attempt >= ATTEMPTS:
                raise Failure(NO_ANSWER, f"S3 does not deliver {path}: {problem}") from problem
            wait_again(path, problem, attempt)

    def _key(self, path: str) -> str:
        return f"{self._options.prefix}/{path}"

    def _small(self, path: str) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                body: bytes = self._get(path)["Body"].read()
            except (BotoCoreError, OSError) as error:
                if attempt == ATTEMPTS:
                    raise Failure(NO_ANSWER, f"S3 does not deliver {path}: {error}") from error
                wait_again(path, error, attempt)
            else:
                return body
        raise AssertionError("every way out is above")

    def _get(self, path: str) -> Any:
        where = f"s3://{self._options.bucket}/{self._key(path)}"
        try:
            return self._s3.get_object(Bucket=self._options.bucket, Key=self._key(path))
        except NoCredentialsError as error:
            raise Failure(
                DENIED, f"no AWS credentials for {where}: no pod identity for this account"
            ) from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise refused(code, where, str(error)) from error


def wait_again(path: str, problem: Exception, attempt: int) -> None:
    """After `attempt` attempts without a byte: say that there is another and why, and wait for it."""
    seconds = min(8.0, 0.2 * 2**attempt)
    tell("note", text=f"{path}: S3: {problem}: attempt {attempt + 1} of {ATTEMPTS} in {seconds:.1f} s")
    time.sleep(seconds)


def _checksums(parts: Sequence[str]) -> tuple[int, ...]:
    """As S3 writes them: base64 over eight bytes, big-endian."""
    return tuple(int.from_bytes(base64.b64decode(part), "big") for part in parts)


def refused(code: str, where: str, words: str) -> Failure:
    """S3 said no. `code` is its own, or the HTTP status."""
    if code in ("AccessDenied", "403", "InvalidAccessKeyId", "ExpiredToken"):
        return Failure(DENIED, f"S3 denies {where}: {words}")
    if code in ("NoSuchKey", "NoSuchBucket", "404"):
        return Failure(NOT_FOUND, f"{where} is not there: {code}")
    return Failure(NO_ANSWER, f"S3 refuses {where}: {words}")


class Target:
    """One file on the volume: preallocated, written by several threads at once."""

    def __init__(self, path: Path, size: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._size = size
        self._plain = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._direct: int | None = None
        if size:
            os.posix_fallocate(self._plain, 0, size)
            try:
                self._direct = os.open(path, os.O_RDWR | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: a file system without O_DIRECT, such as tmpfs
                    raise

    @property
    def is_direct(self) -> bool:
        return self._direct is not None

    def write(self, room: memoryview, count: int, offset: int) -> None:
        """The first `count` bytes of `room`; the file's last ones are padded to whole blocks, which `finish` cuts off."""
        descriptor = self._plain
        if self._direct is not None:
            descriptor, count = self._direct, -(-count // BLOCK) * BLOCK
        done = 0
        while done < count:
            done += os.pwrite(descriptor, room[done:count], offset + done)

    def read(self, into: memoryview, offset: int) -> None:
        done = 0
        while done < len(into):
            count = os.preadv(self._plain, [into[done:]], offset + done)
            if not count:
                raise OSError(errno.EIO, "the file is shorter than the journal says")
            done += count

    def flush(self) -> None:
        os.fdatasync(self._plain)

    def finish(self) -> None:
        os.ftruncate(self._plain, self._size)
        os.fsync(self._plain)

    def close(self) -> None:
        os.close(self._plain)
        if self._direct is not None:
            os.close(self._direct)


@dataclass
class Piece:
    """A range of one file, and its place in the order everything is taken in. `crc`: what proves it alone, if anything."""

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


@dataclass
class Journal:
    """Bytes of each file that are on the disk; a file's whole size once its sha256 was right."""

    path: Path
    manifest_sha256: str
    bytes: dict[str, int] = field(default_factory=dict)
    proven: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, manifest_sha256: str) -> Journal:
        journal = cls(folder / PROGRESS, manifest_sha256)
        for document in (read_json(folder / MARKER), read_json(folder / PROGRESS)):
            journal.proven |= document.get("proven", {})
            journal.bytes |= document.get("bytes", {})
        return journal

    def has(self, file: Wanted, folder: Path) -> bool:
        path = folder / file.path
        return (
            self.proven.get(file.path) == file.sha256 and path.is_file() and path.stat().st_size == file.size
        )

    def save(self) -> None:
        write_durably(self.path, self.document())

    def document(self) -> dict[str, Any]:
        return {"manifest_sha256": self.manifest_sha256, "bytes": self.bytes, "proven": self.proven}


class Warming:
    """One pass over the files that are missing."""

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
        """Files are closed only once nobody writes to them: the numbers of closed descriptors are used again."""
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
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that hashes
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
            raise Failure(
                BAD_DATA, f"{piece.name} in S3 are not what the manifest says: their CRC64NVME differs"
            )

    def _is_right(self, piece: Piece, windows: Iterator[int], room: memoryview) -> bool:
        """Whether what passes through `room` is what the manifest says, as far as the piece alone can tell."""
        crc = 0
        for count in windows:
            if piece.crc is not None:
                crc = checksums.crc64nvme(room[:count], crc)
        return piece.crc is None or crc == piece.crc

    def _from_s3(self, piece: Piece, target: Target, room: memoryview) -> Iterator[int]:
        """Written window by window; one that turns out wrong is on the disk then, but in no journal."""
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
        saved = told = time.monotonic()
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
            if now - told >= 0.5:
                told = now
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
        self._journal.bytes.pop(file.path, None)
        if sha256 != file.sha256:
            self._journal.save()
            raise TornFile(
                file.path, f"{file.path}: sha256 {sha256} was written, the manifest says {file.sha256}"
            )
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


class DiskErrors:
    """An OSError inside the block as a Failure that says what was being done."""

    def __init__(self, doing: str, root: Path) -> None:
        self._doing, self._root = doing, root

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise disk_failure(error, self._doing, self._root) from error


def warm(options: Options, s3: Any) -> dict[str, Any]:
    """Fill the folder of one commit; the fields of the `done` line. Raises Failure."""
    options.folder.mkdir(parents=True, exist_ok=True)
    _make_room(options, 0)
    marker = read_json(options.folder / MARKER)
    if marker.get("manifest_sha256") == options.manifest_sha256 and _intact(options.folder, marker):
        os.utime(options.folder / MARKER)  # last used now
        return _done(options, marker["total_bytes"], 0, reused=True)
    source = Source(s3, options)
    files = source.manifest()
    total = sum(file.size for file in files)
    _withdraw_marker(options, files)
    copied, torn = 0, set[str]()
    while True:
        journal = Journal.load(options.folder, options.manifest_sha256)
        missing = [file for file in files if not journal.has(file, options.folder)]
        if not missing:
            break
        _make_room(options, _missing_bytes(options, missing))
        _check_space(options, missing)
        tell("start", total=sum(file.size for file in missing), files=len(missing))
        warming = Warming(options, source, journal, missing)
        try:
            warming.run()
        except TornFile as error:
            if error.path in torn:
                raise Failure(BAD_DATA, f"a second time {error.cause}") from error
            torn.add(error.path)
            tell("note", text=f"{error.path} is torn or was misread: it is fetched whole")
        finally:
            copied += warming.copied
    for folder in sorted({(options.folder / file.path).parent for file in files}):
        sync_folder(folder)
    sizes = {file.path: file.size for file in files}
    write_durably(
        options.folder / MARKER,
        journal.document() | {"format": 1, "commit": options.commit, "total_bytes": total, "sizes": sizes},
    )
    (options.folder / PROGRESS).unlink(missing_ok=True)
    return _done(options, total, copied, reused=False)


def _done(options: Options, total: int, copied: int, *, reused: bool) -> dict[str, Any]:
    path = str(options.folder.relative_to(options.root))
    return {
        "commit": options.commit,
        "path": path,
        "total_bytes": total,
        "bytes_copied": copied,
        "reused": reused,
        "held": {each.commit: each.size for each in held(options)},
    }


def _intact(folder: Path, marker: dict[str, Any]) -> bool:
    """Every file is there with its size; what is in it was proven before the marker was written."""
    return all(
        (folder / path).is_file() and (folder / path).stat().st_size == size
        for path, size in marker["sizes"].items()
    )


def held(options: Options) -> list[Revision]:
    """Every commit's folder on the volume, of this repo and of others."""
    found = []
    for folder in options.root.glob("*--*/*"):
        if _COMMIT.fullmatch(folder.name) and folder.is_dir():
            newest = folder / MARKER if (folder / MARKER).exists() else folder
            size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
            found.append(Revision(folder, size, newest.stat().st_mtime))
    return found


def _make_room(options: Options, missing: int) -> None:
    """Folders of commits nobody needs go before `missing` bytes come."""
    needed = {options.commit, *options.needed}
    free = shutil.disk_usage(options.root).free
    for each in to_evict(held(options), needed=needed, spare=options.spare, missing=missing, free=free):
        tell("note", text=f"removing {each.commit}, which nothing needs: {each.size} bytes")
        (each.folder / MARKER).unlink(missing_ok=True)  # first: half a folder shall not pass for a whole one
        shutil.rmtree(each.folder)


def _withdraw_marker(options: Options, files: list[Wanted]) -> None:
    """What the marker proved goes into the journal, then it goes; so do files the manifest does not list."""
    Journal.load(options.folder, options.manifest_sha256).save()
    (options.folder / MARKER).unlink(missing_ok=True)
    wanted = {options.folder / file.path for file in files} | {options.folder / PROGRESS}
    for path in options.folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def _missing_bytes(options: Options, files: list[Wanted]) -> int:
    """What these files still take beside what of them is on the volume."""
    have = 0
    for file in files:
        path = options.folder / file.path
        have += min(file.size, path.stat().st_blocks * 512) if path.is_file() else 0
    return sum(file.size for file in files) - have


def _check_space(options: Options, files: list[Wanted]) -> None:
    """Before a byte is fetched: what is missing must fit beside what is there, `grow_seconds` from now at the latest."""
    needed, end = _missing_bytes(options, files), time.monotonic() + options.grow_seconds
    while needed > (free := shutil.disk_usage(options.root).free):
        if time.monotonic() >= end:
            raise Failure(
                NO_SPACE, f"no space left on the volume: {needed} bytes are missing, {free} are free"
            )
        time.sleep(0.5)


def parsed(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(description="Fill a volume with a staged model.")
    for name in ("bucket", "prefix", "repo", "commit", "manifest-sha256"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--root", type=Path, required=True, help="where the volume is mounted")
    parser.add_argument("--needed", default="", help="commits that are never removed, with commas between")
    parser.add_argument("--spare", type=int, default=0, help="other commits that stay while there is room")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=16 << 20, help="bytes, a multiple of 4096")
    parser.add_argument("--journal-seconds", type=float, default=2.0, help="between flushes of the journal")
    parser.add_argument("--grow-seconds", type=float, default=0.0, help="the file system may grow so long")
    given = parser.parse_args(arguments)
    given.needed = tuple(filter(None, given.needed.split(",")))
    return Options(**vars(given))


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    try:
        with DiskErrors("keeping its own records", options.root), (options.root / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(BUSY, "another warming holds this volume") from None
            outcome = warm(options, client(options.threads))
    except Failure as failure:
        tell("error", code=failure.code, cause=failure.cause)
        return failure.code
    tell("done", **outcome)
    return 0


def client(connections: int) -> Any:
    config = Config(
        connect_timeout=10,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "max_attempts": 5},
        s3={
            "addressing_style": "virtual"
        },  # else botocore presigns for the global endpoint, not the region's
        signature_version="s3v4",  # what KMS wants of a presigned URL; some regions still presign the old way
        max_pool_connections=connections,
    )
    # boto3 itself reads AWS_DEFAULT_REGION only; a presigned URL of another region than the bucket's is not redirected
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
