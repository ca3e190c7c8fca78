"""The CDN large files come from: another host name, signed URLs that expire, ranges; it knows no tokens.

URL and error forms: CloudFront signed URLs with a custom policy, as cdn-lfs.hf.co answered
(https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-custom-policy.html).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from urllib.parse import quote, urlencode

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub.answers import strike
from slipway_sandbox.hub.blobs import Blob
from slipway_sandbox.hub.repos import FIRST_COMMIT, Repo
from slipway_sandbox.hub.transfer import Span, Trouble, Unsatisfiable, requested_span, send

URL_SECONDS = 3600  # how long a signed URL is good for, as on the hub
_KEY_PAIR = "KSLIPWAYSANDBOX"
_S3_PART = 8 << 20


class Signer:
    """Makes and checks signed URLs. `clock` gives seconds since 1970."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key, self._clock = key, clock
        self._issued = 0
        self._revoked: dict[str, int] = {}  # path -> the last URL issued before it was revoked

    def query(self, path: str, filename: str) -> str:
        """The query string that opens `path` for URL_SECONDS."""
        self._issued += 1
        expires = int(self._clock()) + URL_SECONDS
        policy = {
            "Id": str(self._issued),
            "Statement": [
                {"Condition": {"DateLessThan": {"AWS:EpochTime": expires}}, "Resource": path},
            ],
        }
        text = base64.urlsafe_b64encode(json.dumps(policy, separators=(",", ":")).encode()).decode()
        disposition = f"inline; filename*=UTF-8''{quote(filename)}; filename=\"{filename}\";"
        fields = {
            "response-content-disposition": disposition,
            "Expires": str(expires),
            "Policy": text,
            "Signature": self._sign(text),
            "Key-Pair-Id": _KEY_PAIR,
        }
        return urlencode(fields)

    def accepts(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether this signature is ours, is for this path, and has neither expired nor been revoked."""
        text = query.get("Policy", "")
        if not hmac.compare_digest(self._sign(text), query.get("Signature", "")):
            return False
        policy = json.loads(base64.urlsafe_b64decode(text))
        statement = policy["Statement"][0]
        if statement["Resource"] != path or int(policy["Id"]) <= self._revoked.get(path, 0):
            return False
        return bool(self._clock() < statement["Condition"]["DateLessThan"]["AWS:EpochTime"])

    def revoke(self, path: str) -> None:
        """Every URL issued for this path so far stops working, however late it would expire."""
        self._revoked[path] = self._issued

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def object_path(repo: Repo, blob: Blob) -> str:
    """Where the CDN keeps an LFS object of this repository."""
    place = hashlib.sha256(repo.repo_id.encode()).hexdigest()
    return f"/repos/{place[:2]}/{place[2:4]}/{place}/{blob.sha256}"


class Cdn:
    """Serves the LFS objects of `repos`."""

    def __init__(self, repos: Mapping[str, Repo], signer: Signer, faults: Faults) -> None:
        self._repos, self._signer, self._faults = repos, signer, faults

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/repos/{a}/{b}/{place}/{sha256}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:  # the store behind takes one way of authenticating, not two
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        if "Key-Pair-Id" not in request.query:
            return _error(403, "MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
        found = self._find(request.match_info["place"], request.match_info["sha256"])
        if found is None:
            return _error(403, "AccessDenied", "Access denied")
        repo, path, blob = found
        targets = (repo.repo_id, f"{repo.repo_id}/{path}")
        if strike(self._faults, "hub-expired-url", *targets):
            self._signer.revoke(request.path)
        if not self._signer.accepts(request.path, request.query):
            return _error(403, "AccessDenied", "Access denied")
        etag = _etag(blob)
        headers = {
            "ETag": etag,
            "Last-Modified": formatdate(FIRST_COMMIT, usegmt=True),
            "Content-Type": "binary/octet-stream",
            "Content-Disposition": request.query.get("response-content-disposition", "inline"),
        }
        wanted = request.headers.get("Range")
        if request.headers.get("If-Range", etag) not in (etag, headers["Last-Modified"]):
            wanted = None
        try:
            span = requested_span(wanted, blob.size)
        except Unsatisfiable:
            refusal = _error(416, "InvalidRange", "The requested range is not satisfiable")
            refusal.headers["Content-Range"] = f"bytes */{blob.size}"
            return refusal
        if request.method == "HEAD":
            return await send(request, blob.source, span, headers)
        if span.partial and strike(self._faults, "hub-wrong-range", *targets):
            span = _other_span(span, blob.size)
        return await send(request, blob.source, span, headers, self._trouble(targets))

    def _find(self, place: str, sha256: str) -> tuple[Repo, str, Blob] | None:
        for repo in self._repos.values():
            if hashlib.sha256(repo.repo_id.encode()).hexdigest() == place:
                found = repo.find_large(sha256)
                return (repo, *found) if found else None
        return None

    def _trouble(self, targets: tuple[str, ...]) -> Trouble:
        slow = strike(self._faults, "hub-slow", *targets)
        return Trouble(
            bytes_a_second=(slow.value or 1_000_000) if slow else None,
            truncate=strike(self._faults, "hub-truncated", *targets) is not None,
            reset=strike(self._faults, "hub-reset", *targets) is not None,
            flip_byte=strike(self._faults, "hub-wrong-bytes", *targets) is not None,
        )


def _etag(blob: Blob) -> str:
    """What an object store calls it: neither the sha256 nor an md5, so that nobody verifies against it."""
    parts = max(1, -(-blob.size // _S3_PART))
    return f'"{hashlib.md5((blob.sha256 or "").encode(), usedforsecurity=False).hexdigest()}-{parts}"'


def _other_span(span: Span, size: int) -> Span:
    """As many bytes from one place further on, or from one place before where the file ends."""
    if span.offset + span.count < size:
        return Span(span.offset + 1, span.count, True)
    return Span(max(0, span.offset - 1), span.count, True)


def _error(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")
