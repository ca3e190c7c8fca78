"""Read ranges of a hub file straight into a buffer, retrying from the byte reached."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Callable, Iterator

import urllib3
from urllib3.response import BaseHTTPResponse

from tasks.records.errors import HubUnavailable, SlipwayError, StagingFailed
from tasks.staging.addresses import FileAddress
from tasks.staging.backoff import ATTEMPTS
from tasks.staging.link import HubLink
from tasks.staging.ranges import FileRange
from tasks.staging.refusals import refusal, unreachable
from tasks.staging.xet_reader import XetReader

_WINDOW = 1 << 20  # bytes a read asks for
SLOWEST = 256 << 10  # bytes a second below which a range is asked for again: another server may do better
PATIENCE = 30.0  # seconds a range may take besides its bytes
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


class Downloader:
    """Reads ranges. Used from any thread. `slowest` in bytes a second, `patience` in seconds."""

    def __init__(
        self,
        link: HubLink,
        *,
        slowest: float = SLOWEST,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.link = link
        self._session, self._backoff, self._stop = link.session, link.backoff, link.stop
        self._slowest, self._patience, self._say = slowest, patience, say
        self._xet = XetReader(link)
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def read(self, wanted: FileRange) -> None:
        """Fill the range.

        A failure costs only the bytes not yet read: the next attempt continues from there. Eight attempts without a MiB of
        progress raise HubUnavailable (429, 5xx, no connection) or StagingFailed (wrong answers).
        """
        address, attempt = wanted.address, 0
        while wanted.left:
            self._backoff.wait()
            url, generation = address.current()
            before, pause = wanted.got, 0.0
            problem: SlipwayError | None
            if place := address.xet:
                self._tell(address)
                problem = self._xet.read(place, wanted, self._allowed(wanted.left))
            else:
                problem, pause = self._read_plainly(wanted, url, generation)
            if problem is None:
                continue
            attempt = 0 if wanted.got - before >= _WINDOW else attempt + 1
            if attempt >= ATTEMPTS or not _worth_retrying(problem):
                if isinstance(problem, HubUnavailable) or not address.refuse_plain(problem.cause):
                    raise problem
                attempt = 0
                continue
            self._backoff.again(attempt, problem, pause)

    def _tell(self, address: FileAddress) -> None:
        """Say once for each file that Xet serves it, and why."""
        path = address.file.path
        with self._lock:
            known = path in self._told
            self._told.add(path)
        if not known:
            self._say(
                f"{path} is kept in Xet, and {address.why_xet}: it is read through hf_xet, the hub's own client"
            )

    def _allowed(self, count: int) -> float:
        """Seconds that many bytes may take."""
        return self._patience + count / self._slowest

    def _read_plainly(
        self, wanted: FileRange, url: str, generation: int
    ) -> tuple[SlipwayError | None, float]:
        """Make one request. Returns (what ended it too early, the pause the answer asks for)."""
        pause = 0.0
        span = {"Range": f"bytes={wanted.at}-{wanted.end - 1}"}
        try:
            response = self._session.open("GET", url, span)
            pause = self._backoff.heed(response.status, response.headers)
            problem = self._refused(wanted, response, generation)
            if problem is None:
                problem = self._receive(wanted, response)
            else:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            problem = unreachable(self._session.endpoint, f"GET {wanted.address.file.path}", error)
        return problem, pause

    def _refused(self, wanted: FileRange, response: BaseHTTPResponse, generation: int) -> SlipwayError | None:
        """What is wrong with an answer before its body is read."""
        address, status, headers = wanted.address, response.status, response.headers
        path, start = address.file.path, wanted.at
        # a signed URL that expired; a refusal by the hub itself shows when it is resolved again
        if status in (401, 403):
            address.expired(generation)
            return _Retryable(f"{path}: the signed URL is refused", evidence=[f"GET {path}: {status}"])
        if status >= 400:
            return refusal(status, headers, self._session, repo=address.repo, doing=f"GET {path}")
        if headers.get("Content-Encoding", "identity") != "identity":
            return StagingFailed(f"{path}: sent as {headers['Content-Encoding']}, asked for as it is")
        if status == 200 and start == 0 and headers.get("Content-Length") == str(address.file.size):
            return None  # a small file sent whole
        if status != 206:
            return _Retryable(f"{path}: the server ignores ranges", evidence=[f"GET {path}: {status}"])
        given = headers.get("Content-Range", "")
        span = _CONTENT_RANGE.match(given)
        if not span or int(span[1]) != start or int(span[3]) != address.file.size:
            return _Retryable(
                f"{path}: the server sends another range than was asked",
                evidence=[f"asked from byte {start} of {address.file.size}", f"Content-Range: {given}"],
            )
        return None

    def _receive(self, wanted: FileRange, response: BaseHTTPResponse) -> SlipwayError | None:
        """Read the body into the range. Returns what ended it too early."""
        # http.client's own response: its `readinto` fills the buffer, where urllib3's reads a copy first
        body = response._original_response  # type: ignore[attr-defined]
        endpoint, doing = self._session.endpoint, f"GET {wanted.address.file.path}"
        allowed = self._allowed(wanted.left)
        with _ended_after(allowed, response) as late:
            try:
                while wanted.left:
                    self._stop.check()
                    count = body.readinto(wanted.room(_WINDOW))
                    if not count:
                        response.close()
                        problem = f"the body ended after {wanted.got} bytes"
                        if late.is_set():
                            problem = f"{wanted.got} of {wanted.wanted} bytes in {allowed:.0f} s: too slow, asked for again"
                        return unreachable(endpoint, doing, problem)
                    wanted.took(count)
            except (http.client.HTTPException, urllib3.exceptions.HTTPError, OSError) as error:
                response.close()
                return unreachable(endpoint, doing, error)
            except BaseException:
                response.close()
                raise
        if body.isclosed():
            response.release_conn()
        else:  # more than was asked: the connection cannot be used again
            response.close()
        return None


@contextlib.contextmanager
def _ended_after(seconds: float, response: BaseHTTPResponse) -> Iterator[threading.Event]:
    """Shut the connection down after so long: a read of a peer that trickles would never end by itself."""
    late = threading.Event()

    def shut() -> None:
        late.set()
        # it may have ended meanwhile
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            response.shutdown()

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


class _Retryable(StagingFailed):
    """A wrong answer that another server behind the same name may get right."""


def _worth_retrying(problem: SlipwayError) -> bool:
    return isinstance(problem, _Retryable | HubUnavailable)
