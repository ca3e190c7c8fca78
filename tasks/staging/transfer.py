"""Many files through a fixed pool of workers and buffers: two files in flight, their parts in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from tasks.spec.progress import Reporter
from tasks.spec.records import StagedFile
from tasks.staging.buffers import BufferPool
from tasks.staging.download import Downloader
from tasks.staging.flight import FileFlight
from tasks.staging.journal import write_record
from tasks.staging.objects import Bucket
from tasks.staging.parts import Part
from tasks.staging.stop import Stop, Stopped

FILES_IN_FLIGHT = 2  # each sha256 is one serial stream: two files keep two cores hashing
SPARE_BUFFERS = 2  # parts that were sent and still wait for their turn in the hash


def in_order(flights: Sequence[FileFlight]) -> Iterator[tuple[FileFlight, Part]]:
    """Every part, in order within a file, alternating between FILES_IN_FLIGHT files; large files first."""
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
    """One pass over the files that are to be sent. Memory: (workers + 2) parts, whatever the model's size."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        flights: Sequence[FileFlight],
        downloader: Downloader,
        stop: Stop,
        reporter: Reporter,
        *,
        workers: int,
    ) -> None:
        count = sum(len(flight.parts) for flight in flights)
        self._workers = max(1, min(workers, count))
        largest = max((part.size for flight in flights for part in flight.parts), default=0)
        self._pool = BufferPool(self._workers + SPARE_BUFFERS, largest)
        self._bucket, self._prefix, self._flights = bucket, prefix, flights
        self._downloader, self._stop, self._reporter = downloader, stop, reporter
        self._jobs = in_order(flights)
        self._lock = threading.Lock()
        self._total = sum(flight.file.size for flight in flights)
        self._arrived = 0
        self.staged: dict[str, StagedFile] = {}

    def run(self) -> None:
        """Until every part went its way; `staged` then holds the records. Raises the first worker's failure."""
        threads = [
            threading.Thread(target=self._work, name=f"stage {number}", daemon=True)
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

    def _work(self) -> None:
        try:
            while self._one_part():
                pass
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._stop.set(error)

    def _one_part(self) -> bool:
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
                view = memoryview(buffer.data)[: part.size]
                self._downloader.read(flight.address, part.offset, view, self._count)
            record = flight.deliver(part, buffer)
            if record:
                write_record(self._bucket, self._prefix, record)
                with self._lock:
                    self.staged[record.path] = record
                self._reporter.say(f"{record.path}: {record.size} bytes, sha256 {record.sha256[:12]}…")
            return True
        finally:
            buffer.release()

    def _count(self, size: int) -> None:
        with self._lock:
            self._arrived += size
            arrived = self._arrived
        self._reporter.progress(arrived, self._total)
