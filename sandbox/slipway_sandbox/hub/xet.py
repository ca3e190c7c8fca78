"""The content store behind a file kept in Xet: enough of it that the real hf_xet reads ranges from it.

A file is one xorb of equal chunks, stored as they are. Protocol: https://huggingface.co/docs/xet/download-protocol,
https://huggingface.co/docs/xet/api, https://huggingface.co/docs/xet/xorb. hf_xet asks for version 2 of the reconstruction
first and takes a 404 for "version 1, then". Tokens are not checked: hf_xet gets one, the hub's own is asked for before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from slipway_sandbox.hub.blobs import Blob
from slipway_sandbox.hub.repos import Repo
from slipway_sandbox.hub.transfer import Unsatisfiable, requested_span

STORE = "/xet"
_CHUNK = 65_536  # bytes, before its header
_HEADER = 8
_TOKEN_SECONDS = 3600
_XORB = "b" * 64


def xet_hash(blob: Blob) -> str:
    """A stand-in: the true one is a Merkle hash over the chunks, which no client needs for reading."""
    return blob.sha256 or ""


def headers_of(repo: Repo, revision: str, blob: Blob) -> dict[str, str]:
    """What /resolve says beside its answer about a file in Xet."""
    route = f"/api/models/{repo.repo_id}/xet-read-token/{revision}"
    return {"X-Xet-Hash": xet_hash(blob), "Link": f'<{route}>; rel="xet-auth"', "X-Xet-Refresh-Route": route}


class Xet:
    """Routes of the store, below /xet on the hub's own host."""

    def __init__(self, repos: Mapping[str, Repo]) -> None:
        self._repos = repos

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/models/{namespace}/{name}/xet-read-token/{revision}", self._token)
        app.router.add_get(STORE + "/v1/reconstructions/{hash}", self._reconstruct)
        app.router.add_get(STORE + "/xorbs/{hash}", self._xorb)

    @staticmethod
    async def _token(request: web.Request) -> web.Response:
        store, expires = f"http://{request.host}{STORE}", int(time.time()) + _TOKEN_SECONDS
        return web.json_response({"accessToken": "sandbox", "exp": expires, "casUrl": store})

    async def _reconstruct(self, request: web.Request) -> web.Response:
        blob = self._find(request.match_info["hash"])
        try:
            span = requested_span(request.headers.get("Range"), blob.size)
        except Unsatisfiable:
            raise web.HTTPRequestRangeNotSatisfiable from None
        first, last = span.offset // _CHUNK, (span.offset + span.count - 1) // _CHUNK + 1
        begin, end = first * (_CHUNK + _HEADER), min(last * _CHUNK, blob.size) + last * _HEADER
        chunks = {"start": first, "end": last}
        term = {
            "hash": _XORB,
            "unpacked_length": min(last * _CHUNK, blob.size) - first * _CHUNK,
            "range": chunks,
        }
        fetch = {
            "range": chunks,
            "url": f"http://{request.host}{STORE}/xorbs/{blob.sha256}",
            "url_range": {"start": begin, "end": end - 1},
        }
        return web.json_response(
            {
                "offset_into_first_range": span.offset - first * _CHUNK,
                "terms": [term],
                "fetch_info": {_XORB: [fetch]},
            }
        )

    async def _xorb(self, request: web.Request) -> web.Response:
        """Whole chunks, each behind its header: version, stored size, no compression, size."""
        blob = self._find(request.match_info["hash"])
        chunks = -(-blob.size // _CHUNK)
        span = requested_span(request.headers.get("Range"), blob.size + chunks * _HEADER)
        body = bytearray()
        for index in range(span.offset // (_CHUNK + _HEADER), chunks):
            if len(body) >= span.count:
                break
            data = blob.source.read(index * _CHUNK, _CHUNK)
            size = len(data).to_bytes(3, "little")
            body += b"\0" + size + b"\0" + size + data
        given = f"bytes {span.offset}-{span.offset + span.count - 1}/{blob.size + chunks * _HEADER}"
        return web.Response(status=206, body=bytes(body), headers={"Content-Range": given})

    def _find(self, sha256: str) -> Blob:
        for repo in self._repos.values():
            if found := repo.find_large(sha256):
                return found[1]
        raise web.HTTPNotFound
