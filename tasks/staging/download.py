"""Ranges of a hub file, read straight into a part's buffer and retried from the byte reached."""

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
from tasks.staging.backoff import ATTEMPTS, Backoff
from tasks.staging.refusals import refusal, unreachable
from tasks.staging.session import HubSession
from tasks.staging.stop import Stop
from tasks.staging.xet import XetReader

_WINDOW = 1 << 20  # bytes a read asks for
SLOWEST = 256 << 10  # bytes a second below which a range is asked for anew: another server may do better
PATIENCE = 30.0  # seconds a range may take beside its bytes
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


class Downloader:
    """Reads ranges. Used from any thread. `slowest` in bytes a second, `patience` in seconds."""

    def __init__(
        self,
        session: HubSession,
        backoff: Backoff,
        stop: Stop,
        *,
        token_given: bool,
        slowest: float = SLOWEST,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._session, self._backoff, self._stop = session, backoff, stop
        self._token_given = token_given
        self._slowest, self._patience, self._say = slowest, patience, say
        self._xet = XetReader(session, stop)
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def read(
        self,
        address: FileAddress,
        offset: int,
        into: memoryview,
        arrived: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Fill `into` with the file's bytes from `offset`; `arrived(bytes)` as they come.

        A failure costs only the bytes not yet read: the next attempt goes on from there. Eight attempts without
        a MiB of progress raise HubUnavailable (429, 5xx, no connection) or StagingFailed (wrong answers).
        """
        got = attempt = 0
        while got < len(into):
            self._backoff.wait()
            url, generation = address.current()
            before = got
            problem, pause = None, 0.0
            if place := address.xet:
                self._tell(address)
                count, problem = self._xet.read(
                    place, address.file.path, address.file.size, offset + got, into[got:], arrived,
                    self._allowed(len(into) - got),
                )  # fmt: skip
                got += count
            else:
                got, problem, pause = self._read_plainly(address, url, generation, offset, into, got, arrived)
            if problem is None:
                continue
            attempt = 0 if got - before >= _WINDOW else attempt + 1
            if attempt >= ATTEMPTS or not _worth_retrying(problem):
                if isinstance(problem, HubUnavailable) or not address.refuse_plain(problem.cause):
                    raise problem
                attempt = 0
                continue
            self._backoff.again(attempt, problem, pause)

    def _tell(self, address: FileAddress) -> None:
        """Once a file: that Xet serves it, and why."""
        path = address.file.path
        with self._lock:
            told = path in self._told
            self._told.add(path)
        if not told:
            self._say(
                f"{path} is kept in Xet, and {address.why_xet}: it is read through hf_xet, the hub's own client"
            )

    def _allowed(self, count: int) -> float:
        """Seconds that many bytes may take."""
        return self._patience + count / self._slowest

    def _read_plainly(
        self,
        address: FileAddress,
        url: str,
        generation: int,
        offset: int,
        into: memoryview,
        got: int,
        arrived: Callable[[int], None],
    ) -> tuple[int, SlipwayError | None, float]:
        """One request: (bytes of `into` that are filled, what ended it, the pause the answer asks for)."""
        pause = 0.0
        try:
            response = self._request(address, url, offset + got, len(into) - got)
            pause = self._backoff.heed(response.status, response.headers)
            problem = self._refused(address, response, generation, offset + got)
            if problem is None:
                got, problem = self._receive(response, into, got, arrived, address)
            else:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            problem = unreachable(self._session.endpoint, f"GET {address.file.path}", error)
        return got, problem, pause

    def _request(self, address: FileAddress, url: str, start: int, count: int) -> BaseHTTPResponse:
        return self._session.open("GET", url, {"Range": f"bytes={start}-{start + count - 1}"})

    def _refused(
        self, address: FileAddress, response: BaseHTTPResponse, generation: int, start: int
    ) -> SlipwayError | None:
        """What is wrong with an answer before its body is read."""
        path, status, headers = address.file.path, response.status, response.headers
        if status in (
            401,
            403,
        ):  # a signed URL that expired; a refusal by the hub shows when it is resolved anew
            address.expired(generation)
            return _Retryable(f"{path}: the signed URL is refused", evidence=[f"GET {path}: {status}"])
        if status >= 400:
            return refusal(
                status,
                headers,
                repo=address.repo,
                endpoint=self._session.endpoint,
                token_given=self._token_given,
                doing=f"GET {path}",
            )
        if headers.get("Content-Encoding", "identity") != "identity":
            return StagingFailed(f"{path}: sent as {headers['Content-Encoding']}, asked for as it is")
        if status == 200 and start == 0 and headers.get("Content-Length") == str(address.file.size):
            return None  # a small file sent whole
        if status != 206:
            return _Retryable(f"{path}: the server ignores ranges", evidence=[f"GET {path}: {status}"])
        given = headers.get("Content-Range", "")
        found = _CONTENT_RANGE.match(given)
        if not found or int(found[1]) != start or int(found[3]) != address.file.size:
            return _Retryable(
                f"{path}: the server sends another range than was asked",
                evidence=[f"asked from byte {start} of {address.file.size}", f"Content-Range: {given}"],
            )
        return None

    def _receive(
        self,
        response: BaseHTTPResponse,
        into: memoryview,
        got: int,
        arrived: Callable[[int], None],
        address: FileAddress,
    ) -> tuple[int, SlipwayError | None]:
        """(bytes of `into` that are filled, what ended the body too early)."""
        # http.client's own response: its `readinto` fills the buffer, where urllib3's reads a copy first
        body = response._original_response  # type: ignore[attr-defined]
        doing = f"GET {address.file.path}"
        allowed = self._allowed(len(into) - got)
        with _ended_after(allowed, response) as late:
            try:
                while got < len(into):
                    self._stop.check()
                    count = body.readinto(into[got : got + _WINDOW])
                    if not count:
                        response.close()
                        problem = f"the body ended after {got} bytes"
                        if late.is_set():
                            problem = (
                                f"{got} of {len(into)} bytes in {allowed:.0f} s: too slow, asked for anew"
                            )
                        return got, unreachable(self._session.endpoint, doing, problem)
                    got += count
                    arrived(count)
            except (http.client.HTTPException, urllib3.exceptions.HTTPError, OSError) as error:
                response.close()
                return got, unreachable(self._session.endpoint, doing, error)
            except BaseException:
                response.close()
                raise
        if body.isclosed():
            response.release_conn()
        else:  # more than was asked: the connection cannot be used again
            response.close()
        return got, None


@contextlib.contextmanager
def _ended_after(seconds: float, response: BaseHTTPResponse) -> Iterator[threading.Event]:
    """Shut the connection down after so long: a read of a peer that trickles would never end by itself."""
    late = threading.Event()

    def shut() -> None:
        late.set()
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # it ended meanwhile
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
