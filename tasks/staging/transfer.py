"""Move many files through a fixed pool of buffers: some threads read from the hub, as many send to S3, two files at a time.

A thread that read a part and then sent it would, in step with the others, leave one direction of the wire idle while the
other is busy.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tasks.records.progress import Reporter
from tasks.records.results import StagedFile
from tasks.staging.buffers import Buffer, BufferPool
from tasks.staging.download import Downloader
from tasks.staging.flight import FileFlight
from tasks.staging.folder import StagedFolder
from tasks.staging.journal import write_record
from tasks.staging.parts import MIB, Part
from tasks.staging.stop import Stopped
from tasks.staging.transfer_progress import TransferProgress

FILES_IN_FLIGHT = 2  # each sha256 is one serial stream: two files keep two cores hashing
SPARE_BUFFERS = 2  # parts that were sent and still wait for their turn in the hash
MEMORY = 320 * MIB  # of all buffers together; larger parts make them fewer
FEWEST_BUFFERS = 3  # one that is read, one that is sent, one that is hashed


def buffers_for(workers: int, largest: int) -> int:
    """How many buffers of `largest` bytes there are for `workers` threads each way."""
    return max(FEWEST_BUFFERS, min(2 * workers + SPARE_BUFFERS, MEMORY // max(1, largest)))


def in_order(flights: Sequence[FileFlight]) -> Iterator[tuple[FileFlight, Part]]:
    """Yield every part, in order within a file, alternating between FILES_IN_FLIGHT files; large files first."""
    waiting = deque(sorted(flights, key=lambda flight: (-flight.file.size, flight.file.path)))
    active: deque[tuple[FileFlight, Iterator[Part]]] = deque()
    while waiting or active:
        while waiting and len(active) < FILES_IN_FLIGHT:
            flight = waiting.popleft()
            active.append((flight, iter(flight.parts)))
        flight, parts = active.popleft()
        part = next(parts, None)
        if part is not None:
            yield flight, part
            active.append((flight, parts))


class Transfer:
    """One pass over the files to send, with `workers` threads each way."""

    def __init__(
        self,
        folder: StagedFolder,
        flights: Sequence[FileFlight],
        downloader: Downloader,
        reporter: Reporter,
        *,
        workers: int,
    ) -> None:
        count = sum(len(flight.parts) for flight in flights)
        self._workers = max(1, min(workers, count))
        largest = max((part.size for flight in flights for part in flight.parts), default=0)
        self._pool = BufferPool(buffers_for(self._workers, largest), largest)
        self._folder, self._stop, self._reporter = folder, downloader.link.stop, reporter
        self._jobs = in_order(flights)
        self._lock = threading.Lock()
        self._reading = self._workers
        self._read: queue.SimpleQueue[tuple[FileFlight, Part, Buffer] | None] = queue.SimpleQueue()
        sizes = {flight.file.path: flight.file.size for flight in flights}
        self._progress = TransferProgress(sizes, reporter)
        self.staged: dict[str, StagedFile] = {}

    def run(self) -> None:
        """Run until every part is sent; `staged` then holds the records. Raises the first worker's failure."""
        threads = [
            threading.Thread(target=self._work, args=(step,), name=f"{name} {number}", daemon=True)
            for name, step in (("read", self._read_all), ("send", self._send_all))
            for number in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
        except BaseException:  # Ctrl-C: the parts that are whole in S3 stay for the next run
            self._stop.set()
            for thread in threads:
                thread.join(10.0)
            raise
        if self._stop.cause is not None:
            raise self._stop.cause

    def _work(self, steps: Callable[[], None]) -> None:
        try:
            steps()
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._stop.set(error)

    def _read_all(self) -> None:
        while self._read_one():
            pass
        with self._lock:
            self._reading -= 1
            last = self._reading == 0
        if last:
            for _ in range(self._workers):
                self._read.put(None)

    def _read_one(self) -> bool:
        # The buffer before the part: parts with a buffer are then always the earliest ones, and the hash,
        # which takes them in order, can never wait for one that finds no buffer.
        buffer = self._pool.take(self._stop)
        try:
            with self._lock:
                job = next(self._jobs, None)
            if job is None:
                return False
            flight, part = job
            if flight.lost:
                return True
            flight.open()
            if part.size:
                view, path = memoryview(buffer.data)[: part.size], flight.file.path
                self._progress.begin(path)
                flight.fetch(part, view, lambda count: self._progress.add(path, count))
            flight.arrive(part, buffer)
            buffer.hold()  # until it is sent
            self._read.put((flight, part, buffer))
            return True
        finally:
            buffer.release()

    def _send_all(self) -> None:
        while (read := self._next_read()) is not None:
            flight, part, buffer = read
            try:
                self._send_one(flight, part, buffer)
            finally:
                buffer.release()

    def _next_read(self) -> tuple[FileFlight, Part, Buffer] | None:
        """Wait for a part that was read; None after the last."""
        while True:
            self._stop.check()
            try:
                return self._read.get(timeout=0.5)
            except queue.Empty:
                continue

    def _send_one(self, flight: FileFlight, part: Part, buffer: Buffer) -> None:
        if flight.lost:
            return
        record = flight.send(part, buffer)
        if record:
            write_record(self._folder, record)
            with self._lock:
                self.staged[record.path] = record
            self._reporter.detail(f"{record.path}: {record.size} bytes, sha256 {record.sha256[:12]}…")
