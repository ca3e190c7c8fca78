"""The hub's own host: the API under /api, and /resolve, which sends large files to the CDN.

Endpoints: https://huggingface.co/docs/hub/api. What a client needs of each answer was read off
huggingface_hub 2.4. No X-Xet headers are sent, so a client never takes the Xet path, but where the fault says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web
from multidict import MultiMapping

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub import answers
from slipway_sandbox.hub.accounts import ACCOUNTS, ANONYMOUS, Account, Allowance, RateLimiter
from slipway_sandbox.hub.blobs import Blob
from slipway_sandbox.hub.cdn import Signer, object_path
from slipway_sandbox.hub.repos import Commit, NoSuchRevision, Repo
from slipway_sandbox.hub.transfer import Unsatisfiable, requested_span, send
from slipway_sandbox.hub.xet import STORE, Xet, headers_of

TREE_PAGE = 1000  # entries a page of /tree; 50 when expanded
_EXPANDED_PAGE = 50
_COMMITS_PAGE = 50
_ACCOUNT = web.RequestKey("account", Account)
_ALLOWANCE = web.RequestKey("allowance", Allowance)
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
    ) -> None:
        self._repos, self._faults, self._signer, self._limiter = repos, faults, signer, limiter
        self._cdn_url = cdn_url

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_say_allowance)
        repo = "/api/models/{namespace}/{name}"
        get = app.router.add_get
        get("/api/whoami-v2", self._whoami)
        get("/api/models", self._models)
        get(repo, self._model)
        get(repo + "/auth-check", self._auth_check)
        get(repo + "/refs", self._refs)
        get(repo + "/revision/{revision}", self._model)
        get(repo + "/commits/{revision}", self._commits)
        get(repo + "/tree/{revision}", self._tree)
        get(repo + "/tree/{revision}/{path:.+}", self._tree)
        app.router.add_post(repo + "/paths-info/{revision}", self._paths_info)
        get("/{namespace}/{name}/resolve/{revision}/{path:.+}", self._resolve)
        get("/api/resolve-cache/models/{namespace}/{name}/{revision}/{path:.+}", self._cached)
        Xet(self._repos).add_to(app)
        get("/{anything:.*}", self._nothing)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Token, quota and faults, in the order the hub would notice them; refusals become answers."""
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

    async def _whoami(self, request: web.Request) -> web.Response:
        account = request[_ACCOUNT]
        if account is ANONYMOUS:
            raise answers.Refusal(401, "Invalid username or password.")
        return web.json_response(
            {
                "type": "user",
                "id": account.name,
                "name": account.name,
                "fullname": account.name,
                "isPro": False,
                "orgs": [],
                "auth": {
                    "type": "access_token",
                    "accessToken": {"displayName": "sandbox", "role": "read", "createdAt": _date(0)},
                },
            }
        )

    async def _models(self, request: web.Request) -> web.Response:
        author, search = request.query.get("author"), request.query.get("search", "").lower()
        return web.json_response(
            [
                _describe(repo, repo.resolve("main"), request.query)
                for repo in self._repos.values()
                if search in repo.repo_id.lower() and author in (None, repo.repo_id.split("/")[0])
            ]
        )

    async def _model(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        return web.json_response(_describe(repo, self._commit(request, repo), request.query))

    async def _auth_check(self, request: web.Request) -> web.Response:
        self._readable(request)
        return web.Response()

    async def _refs(self, request: web.Request) -> web.Response:
        repo = self._repo(request)

        def listed(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
                for name, sha in refs.items()
            ]

        branches, tags = listed("heads", repo.branches), listed("tags", repo.tags)
        document: dict[str, Any] = {"branches": branches, "converts": [], "tags": tags}
        if request.query.get("include_prs") in ("1", "true", "True"):
            document["pullRequests"] = []
        return web.json_response(document)

    async def _commits(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        history = repo.history(self._commit(request, repo))
        page = _number(request, "p", 0)
        start = page * _COMMITS_PAGE
        shown = [
            {
                "id": commit.sha,
                "title": commit.title,
                "message": "",
                "authors": [{"user": "sandbox"}],
                "date": _date(commit.epoch),
            }
            for commit in history[start : start + _COMMITS_PAGE]
        ]
        more = start + _COMMITS_PAGE < len(history)
        headers = {"X-Total-Count": str(len(history))} | (_next(request, p=str(page + 1)) if more else {})
        return web.json_response(shown, headers=headers)

    async def _tree(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        commit = self._commit(request, repo)
        folder = request.match_info.get("path", "").strip("/")
        if folder not in commit.trees:
            raise answers.entry_not_found(commit.sha)
        expand = _flag(request, "expand")
        entries = list(_tree_entries(commit, folder, _flag(request, "recursive"), expand))
        limit = min(_number(request, "limit", TREE_PAGE), _EXPANDED_PAGE if expand else TREE_PAGE)
        start = _number(request, "cursor", 0)
        more = start + limit < len(entries)
        headers = {"X-Repo-Commit": commit.sha} | (_next(request, cursor=str(start + limit)) if more else {})
        return web.json_response(entries[start : start + limit], headers=headers)

    async def _paths_info(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        commit = self._commit(request, repo)
        if request.content_type == "application/json":
            body = await request.json()
            wanted, expand = body["paths"], bool(body.get("expand"))
        else:
            form = await request.post()
            wanted, expand = form.getall("paths", []), str(form.get("expand", "")).lower() == "true"
        every = {entry["path"]: entry for entry in _tree_entries(commit, "", True, expand)}
        return web.json_response([every[path] for path in wanted if path in every])

    def _file(self, request: web.Request) -> tuple[Repo, Commit, str, Blob]:
        repo = self._readable(request)
        commit = self._commit(request, repo)
        path = request.match_info["path"]
        if path not in commit.files:
            raise answers.entry_not_found(commit.sha)
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


def _describe(repo: Repo, commit: Commit, query: MultiMapping[str]) -> dict[str, Any]:
    """ModelInfo on the wire."""
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
        "siblings": [_sibling(path, blob, "blobs" in query) for path, blob in commit.files.items()],
        "spaces": [],
        "usedStorage": sum(blob.size for blob in commit.files.values()),
    }
    if commit.parameters:
        total = sum(commit.parameters.values())
        document["safetensors"] = {"parameters": dict(commit.parameters), "total": total}
    wanted = query.getall("expand", [])
    if wanted:
        return {key: document[key] for key in ("_id", "id", "modelId", *wanted) if key in document}
    return document


def _sibling(path: str, blob: Blob, with_blobs: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        described |= {"blobId": blob.oid, "size": blob.size}
        if blob.sha256:
            described["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return described


def _tree_entries(commit: Commit, folder: str, recursive: bool, expand: bool) -> Iterator[dict[str, Any]]:
    prefix = f"{folder}/" if folder else ""
    last = {"id": commit.sha, "title": commit.title, "date": _date(commit.epoch)}
    paths = [path for path in (*commit.trees, *commit.files) if path and path.startswith(prefix)]
    for path in sorted(paths):
        if not recursive and "/" in path.removeprefix(prefix):
            continue
        entry: dict[str, Any]
        if path in commit.trees:
            entry = {"type": "directory", "oid": commit.trees[path], "size": 0, "path": path}
        else:
            blob = commit.files[path]
            entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
            if blob.sha256:
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
        yield entry | {"lastCommit": last} if expand else entry


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("1", "true")


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise answers.Refusal(400, f"Invalid {name}: {text}")
    return int(text)


def _next(request: web.Request, **changed: str) -> dict[str, str]:
    query = urlencode({**request.query, **changed})
    return {"Link": f'<{request.url.origin()}{request.rel_url.raw_path}?{query}>; rel="next"'}


def _date(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
