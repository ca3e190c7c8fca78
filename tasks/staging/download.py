"""Ranges of a hub file, read straight into a part's buffer and retried from the byte reached."""

from __future__ import annotations

import re
from collections.abc import Callable

import urllib3
from urllib3.response import BaseHTTPResponse

from tasks.spec.errors import HubUnavailable, SlipwayError, StagingFailed
from tasks.staging.addresses import FileAddress
from tasks.staging.backoff import ATTEMPTS, Backoff
from tasks.staging.refusals import refusal, unreachable
from tasks.staging.session import HubSession
from tasks.staging.stop import Stop

_WINDOW = 1 << 20  # bytes a read asks for: urllib3's `readinto` holds a copy of that many
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


class Downloader:
    """Reads ranges. Used from any thread."""

    def __init__(self, session: HubSession, backoff: Backoff, stop: Stop, *, token_given: bool) -> None:
        self._session, self._backoff, self._stop = session, backoff, stop
        self._token_given = token_given

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
            if problem is None:
                continue
            attempt = 0 if got - before >= _WINDOW else attempt + 1
            if attempt >= ATTEMPTS or not _worth_retrying(problem):
                raise problem
            if not pause:
                self._backoff.wait_alone(attempt)

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
            return _Retryable(f"{path}: the signed URL is refused over and over", evidence=[f"{status}"])
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
        try:
            while got < len(into):
                self._stop.check()
                count = response.readinto(into[got : got + _WINDOW])
                if not count:
                    response.close()
                    return got, unreachable(
                        self._session.endpoint,
                        f"GET {address.file.path}",
                        f"the body ended after {got} bytes",
                    )
                got += count
                arrived(count)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            response.close()
            return got, unreachable(self._session.endpoint, f"GET {address.file.path}", error)
        except BaseException:
            response.close()
            raise
        if response.read(1):  # more than was asked: the connection cannot be used again
            response.close()
        response.release_conn()
        return got, None


class _Retryable(StagingFailed):
    """A wrong answer that another server behind the same name may get right."""


def _worth_retrying(problem: SlipwayError) -> bool:
    return isinstance(problem, _Retryable | HubUnavailable)
