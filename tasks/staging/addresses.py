"""Where a file's bytes are now: the hub redirects to a signed URL that expires, renewed once for all workers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urljoin

import urllib3

from tasks.records.errors import SlipwayError, StagingFailed
from tasks.records.results import HubFile
from tasks.staging.backoff import ATTEMPTS
from tasks.staging.link import HubLink
from tasks.staging.refusals import is_transient, refusal, unreachable
from tasks.staging.xet import PLAIN_AT_MOST, XetPlace, xet_place

_REDIRECTS_AT_MOST = 5


class FileAddress:
    """One file of a repo at a commit. Used from any thread."""

    def __init__(self, link: HubLink, repo: str, commit: str, file: HubFile) -> None:
        self.file, self.repo = file, repo
        self._session, self._backoff, self._commit = link.session, link.backoff, commit
        self._lock = threading.Lock()
        self._url: str | None = None
        self._generation = 0
        self._xet: XetPlace | None = None
        self._plain_refused: str | None = None

    @property
    def xet(self) -> XetPlace | None:
        """Where the file is read through hf_xet; None while plain HTTP serves it."""
        return self._xet if self._plain_refused or self.file.size > PLAIN_AT_MOST else None

    @property
    def why_xet(self) -> str:
        return self._plain_refused or f"plain HTTP is not for more than {PLAIN_AT_MOST // 10**9} GB"

    def refuse_plain(self, why: str) -> bool:
        """Note that plain HTTP does not serve the file. Returns whether Xet does, from now on."""
        with self._lock:
            self._plain_refused = self._plain_refused or why
            return self._xet is not None

    def current(self) -> tuple[str, int]:
        """(URL, its generation). Raises HubError, or StagingFailed where the hub names another file."""
        with self._lock:
            if self._url is None:
                self._url = self._resolve()
                self._generation += 1
            return self._url, self._generation

    def expired(self, generation: int) -> None:
        """Note that the URL of a generation was refused. Only the first to say so makes it be resolved again."""
        with self._lock:
            if generation == self._generation:
                self._url = None

    def _resolve(self) -> str:
        doing = f"HEAD {self.file.path}"
        problem: SlipwayError = StagingFailed(doing)
        for failed in range(1, ATTEMPTS + 1):
            self._backoff.wait()
            pause = 0.0
            try:
                status, headers, url = self._head()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = unreachable(self._session.endpoint, doing, error)
            else:
                pause = self._backoff.heed(status, headers)
                if status < 400:
                    return url
                problem = refusal(status, headers, self._session, repo=self.repo, doing=doing)
                if not is_transient(status):
                    break
            self._backoff.again(failed, problem, pause)
        raise problem

    def _head(self) -> tuple[int, Mapping[str, str], str]:
        """Follow redirects on the hub's own host; the first away from it is where the bytes are."""
        url = self._session.file_url(self.repo, self._commit, self.file.path)
        for _ in range(_REDIRECTS_AT_MOST):
            response = self._session.open("HEAD", url)
            response.drain_conn()
            response.release_conn()
            status, headers = response.status, response.headers
            self._xet = xet_place(headers, url) or self._xet
            if status < 400:
                self._check(headers)
            if status not in (301, 302, 303, 307, 308):
                return status, headers, url
            url = urljoin(url, headers["Location"])
            if not self._session.at_hub(url):
                return status, headers, url
        raise StagingFailed(f"{self.file.path}: the hub redirects in circles", evidence=[url])

    def _check(self, headers: Mapping[str, str]) -> None:
        """Raise StagingFailed where the hub's answer is about another commit or size than was asked for."""
        commit = headers.get("X-Repo-Commit")
        if commit and commit != self._commit:
            raise StagingFailed(
                f"{self.file.path}: asked for commit {self._commit}, the hub answers with {commit}"
            )
        size = headers.get("X-Linked-Size")
        if size and int(size) != self.file.size:
            raise StagingFailed(
                f"{self.file.path}: {self.file.size} bytes in the repo's list, {size} where it is kept"
            )
