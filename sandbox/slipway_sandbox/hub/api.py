"""The hub's own host: what a model is (/api/models/…), and /resolve, which sends large files to the CDN.

These are the endpoints a download needs; the others of https://huggingface.co/docs/hub/api answer 404.
No X-Xet headers are sent, so a client never takes the Xet path, except where a fault says so.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub import answers, webhooks
from slipway_sandbox.hub.accounts import ACCOUNTS, ANONYMOUS, Account, Allowance, RateLimiter
from slipway_sandbox.hub.blobs import Blob
from slipway_sandbox.hub.cdn import Signer, object_path
from slipway_sandbox.hub.registry import Registry
from slipway_sandbox.hub.repos import Commit, NoSuchRevision, Repo
from slipway_sandbox.hub.transfer import Unsatisfiable, requested_span, send
from slipway_sandbox.hub.webhooks import Webhooks
from slipway_sandbox.hub.xet import STORE, Xet, headers_of

_ACCOUNT = web.RequestKey("account", Account)
_ALLOWANCE = web.RequestKey("allowance", Allowance)
PUBLISH = "/sandbox/publish"
Handler = Callable[[web.Request], Any]


class HubApi:
    """Answers for `repos`. `cdn_url` is where signed URLs point, e.g. http://localhost:9100."""

    def __init__(
        self,
        repos: Mapping[str, Repo],
        faults: Faults,
        signer: Signer,
        limiter: RateLimiter,
        cdn_url: str,
        publish: Callable[[str, Path], Awaitable[str]],
        webhooks: Webhooks,
    ) -> None:
        self._repos, self._faults, self._signer, self._limiter = repos, faults, signer, limiter
        self._cdn_url, self._publish, self._webhooks = cdn_url, publish, webhooks

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_say_allowance)
        repo = "/api/models/{namespace}/{name}"
        get = app.router.add_get
        get(repo, self._model)
        get(repo + "/revision/{revision}", self._model)
        get(repo + "/tree/{revision}", self._tree)
        get("/{namespace}/{name}/resolve/{revision}/{path:.+}", self._resolve)
        get("/api/resolve-cache/models/{namespace}/{name}/{revision}/{path:.+}", self._cached)
        Xet(self._repos).add_to(app)
        Registry(self._faults).add_to(app)
        app.router.add_post(PUBLISH, self._published)
        app.router.add_post(webhooks.ROUTE, self._webhook)
        get("/{anything:.*}", self._nothing)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Token, quota and faults, in the order the hub would notice them; refusals become answers."""
        if request.path.startswith("/v2/") or request.path == PUBLISH:  # no part of the hub
            other: web.StreamResponse = await handler(request)
            return other
        try:
            target = _target(request)
            account, caller = self._authenticate(request, target)
            request[_ACCOUNT] = account
            self._count(request, account, caller, target)
            if answers.strike(self._faults, "hub-5xx", target):
                return answers.Refusal(503, "Service Unavailable").response()
            answer: web.StreamResponse = await handler(request)
        except answers.Refusal as refusal:
            return refusal.response()
        return answer

    def _authenticate(self, request: web.Request, target: str) -> tuple[Account, str]:
        header = request.headers.get("Authorization")
        if header is None or request.path.startswith(
            STORE
        ):  # another host on the hub, with tokens of its own
            return ANONYMOUS, request.remote or ""
        scheme, _, token = header.partition(" ")
        account = ACCOUNTS.get(token.strip()) if scheme.lower() == "bearer" else None
        if account is None or answers.strike(self._faults, "hub-401", target):
            raise answers.bad_token()
        return account, account.name

    def _count(self, request: web.Request, account: Account, caller: str, target: str) -> None:
        bucket = "api" if request.path.startswith("/api/") else "pages"
        if "/resolve/" in request.path or "/resolve-cache/" in request.path:
            bucket = "resolvers"
        allowance = self._limiter.take(caller, account, bucket)
        if fault := answers.strike(self._faults, "hub-429", target):
            wait = math.ceil(fault.value if fault.value is not None else 1)
            allowance = Allowance(bucket, allowance.quota, 0, wait, refused=True)
        request[_ALLOWANCE] = allowance
        if allowance.refused:
            raise answers.rate_limited(bucket, allowance.quota, allowance.reset_seconds)

    def _repo(self, request: web.Request) -> Repo:
        repo = self._repos.get(_target(request))
        if repo is None:
            raise answers.repo_not_found(request[_ACCOUNT] is not ANONYMOUS)
        return repo

    def _readable(self, request: web.Request) -> Repo:
        """The repository, where its files may be read: describing a gated one is allowed to all."""
        repo = self._repo(request)
        account = request[_ACCOUNT]
        if answers.strike(self._faults, "hub-gated", repo.repo_id) or (repo.gated and not account.accepted):
            raise answers.gated(repo.repo_id, account is not ANONYMOUS)
        return repo

    @staticmethod
    def _commit(request: web.Request, repo: Repo) -> Commit:
        revision = request.match_info.get("revision", "main")
        try:
            return repo.resolve(revision)
        except NoSuchRevision:
            raise answers.revision_not_found(revision) from None

    async def _model(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        return web.json_response(_describe(repo, self._commit(request, repo), "blobs" in request.query))

    async def _tree(self, request: web.Request) -> web.Response:
        """Every file of a commit, in one page: huggingface_hub lists them before it downloads a snapshot."""
        commit = self._commit(request, self._repo(request))
        entries = [_entry(path, blob) for path, blob in commit.files.items()]
        return web.json_response(entries, headers={"X-Repo-Commit": commit.sha})

    def _file(self, request: web.Request) -> tuple[Repo, Commit, str, Blob]:
        repo = self._readable(request)
        commit = self._commit(request, repo)
        path = request.match_info["path"]
        if path not in commit.files:
            raise answers.Refusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
        return repo, commit, path, commit.files[path]

    async def _resolve(self, request: web.Request) -> web.Response:
        """302 to the CDN for a large file; 307 to this host's own cache for a small one."""
        repo, commit, path, blob = self._file(request)
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes", "ETag": f'"{blob.oid}"'}
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256 or blob.oid}"'}
        if blob.sha256 and answers.strike(self._faults, "hub-xet-only", repo.repo_id):
            headers |= headers_of(repo, commit.sha, blob)
            if request.method == "HEAD":
                return web.Response(headers=headers)
            raise answers.Refusal(400, "This file is only available through Xet", headers=headers)
        if blob.sha256:
            place = object_path(repo, blob)
            query = self._signer.query(place, path.rpartition("/")[2])
            headers["Location"] = f"{self._cdn_url}{place}?{query}"
            return web.Response(status=302, headers=headers, text="Found. Redirecting to the CDN")
        etag = quote(f'"{blob.oid}"')
        cached = f"/api/resolve-cache/models/{repo.repo_id}/{commit.sha}/{quote(path)}"
        headers["Location"] = f"{cached}?{quote(request.path, safe='')}=&etag={etag}"
        return web.Response(status=307, headers=headers, text="Temporary Redirect")

    async def _cached(self, request: web.Request) -> web.StreamResponse:
        _, commit, _, blob = self._file(request)
        etag = f'"{blob.oid}"'
        headers = {"X-Repo-Commit": commit.sha, "ETag": etag, "Content-Type": "text/plain; charset=utf-8"}
        if request.headers.get("If-None-Match") in (etag, "*"):
            return web.Response(status=304, headers={"ETag": etag})
        try:
            span = requested_span(request.headers.get("Range"), blob.size)
        except Unsatisfiable:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{blob.size}"})
        return await send(request, blob.source, span, headers)

    async def _published(self, request: web.Request) -> web.Response:
        """A new commit of a repository, of a folder on this machine: `{"repo": …, "folder": …}`. The hub has no such route."""
        asked = await request.json()
        return web.json_response({"commit": await self._publish(asked["repo"], Path(asked["folder"]))})

    async def _webhook(self, request: web.Request) -> web.Response:
        if request[_ACCOUNT] is ANONYMOUS:
            raise answers.bad_token()
        return await self._webhooks.make(request)

    async def _nothing(self, request: web.Request) -> web.Response:
        if request.path.startswith("/api/") and request.path.count("/") >= 3:
            raise answers.repo_not_found(request[_ACCOUNT] is not ANONYMOUS)
        raise answers.Refusal(404, "Sorry, we can't find the page you are looking for.")


async def _say_allowance(request: web.Request, response: web.StreamResponse) -> None:
    allowance = request.get(_ALLOWANCE)
    if allowance is not None:
        response.headers.update(allowance.headers())


def _target(request: web.Request) -> str:
    """What a fault's target names: the repository, or the path where there is none."""
    if "name" in request.match_info:
        return f"{request.match_info['namespace']}/{request.match_info['name']}"
    return request.path


def _describe(repo: Repo, commit: Commit, with_blobs: bool) -> dict[str, Any]:
    """What the hub says of a model at one commit; `with_blobs`: sizes and hashes of its files too."""
    config = {k: commit.config[k] for k in ("architectures", "model_type") if k in commit.config}
    tags = ["transformers", "safetensors", "llama", "text-generation", "region:us"]
    document: dict[str, Any] = {
        "_id": commit.trees[""][:24],
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "author": repo.repo_id.split("/")[0],
        "sha": commit.sha,
        "lastModified": _date(commit.epoch),
        "createdAt": _date(next(iter(repo.commits.values())).epoch),
        "private": False,
        "gated": repo.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags,
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "config": config,
        "cardData": dict(repo.card),
        "siblings": [_sibling(path, blob, with_blobs) for path, blob in commit.files.items()],
        "spaces": [],
        "usedStorage": sum(blob.size for blob in commit.files.values()),
    }
    if commit.parameters:
        total = sum(commit.parameters.values())
        document["safetensors"] = {"parameters": dict(commit.parameters), "total": total}
    return document


def _sibling(path: str, blob: Blob, with_blobs: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        described |= {"blobId": blob.oid, "size": blob.size}
        if blob.sha256:
            described["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return described


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.sha256:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry


def _date(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
