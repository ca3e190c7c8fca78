"""A small asynchronous Kubernetes client for the sandbox's own controllers, scheduler and nodes.

They speak only this protocol, so they serve any control plane a kubeconfig names, not just the embedded one.
Objects are plain dicts as they are on the wire.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import aiohttp

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused: `code` is the HTTP status, `reason` the Status object's reason."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message = code, reason, message


class ApiClient:
    """`path("apps/v1", "deployments", "llm", "vllm")` names a resource; verbs take such a path."""

    def __init__(self, server: str, token: str | None, ssl_context: ssl.SSLContext | None) -> None:
        self.server = server.rstrip("/")
        self._token = token
        self._ssl: ssl.SSLContext | bool = ssl_context if ssl_context is not None else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    @staticmethod
    def path(
        api: str,
        plural: str,
        namespace: str | None = None,
        name: str | None = None,
        sub: str | None = None,
    ) -> str:
        root = f"/api/{api}" if "/" not in api else f"/apis/{api}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{plural}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> Any:
        """One call; the decoded JSON answer. Raises ApiError for 4xx/5xx, aiohttp.ClientError when unreachable."""
        assert self._session is not None, "use `async with ApiClient(...)`"
        async with self._session.request(
            method,
            self.server + path,
            data=None if body is None else json.dumps(body),
            params=params,
            headers={"Content-Type": content_type} if body is not None else None,
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as response:
            text = await response.text()
            if response.status >= 400:
                try:
                    status = json.loads(text)
                    raise ApiError(response.status, status.get("reason", ""), status.get("message", text))
                except (json.JSONDecodeError, AttributeError):
                    raise ApiError(response.status, "", text[:500]) from None
            return json.loads(text) if response.content_type == "application/json" else text

    async def get(self, path: str) -> Object | None:
        """The object, or None where it does not exist."""
        try:
            found: Object = await self.request("GET", path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return found

    async def list(self, path: str, **params: str) -> list[Object]:
        items: list[Object] = (await self.request("GET", path, params=params))["items"]
        return items

    async def create(self, path: str, body: Object) -> Object:
        made: Object = await self.request("POST", path, body)
        return made

    async def replace(self, path: str, body: Object) -> Object:
        """PUT with the body's resourceVersion as the lock; 409 when someone else wrote first."""
        put: Object = await self.request("PUT", path, body)
        return put

    async def patch(self, path: str, body: Any, content_type: str = MERGE) -> Object:
        patched: Object = await self.request("PATCH", path, body, content_type=content_type)
        return patched

    async def delete(self, path: str, **options: Any) -> None:
        """Delete; an object that is already gone is fine."""
        try:
            await self.request("DELETE", path, options or None)
        except ApiError as error:
            if error.code != 404:
                raise

    async def watch(
        self, path: str, resource_version: str, **params: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """(event type, object) pairs until the server ends the stream. Raises ApiError(410) when it is too old."""
        assert self._session is not None
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            **params,
        }
        async with self._session.get(
            self.server + path,
            params=query,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        ) as response:
            if response.status >= 400:
                raise ApiError(response.status, "", await response.text())
            buffer = b""
            async for chunk in response.content.iter_any():
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(
                            status.get("code", 500),
                            status.get("reason", ""),
                            status.get("message", ""),
                        )
                    yield event["type"], event["object"]


class Informer:
    """A live copy of one collection: `objects` by (namespace, name), `changed()` called after each event."""

    def __init__(
        self, client: ApiClient, path: str, changed: Callable[[str, Object], None], **selectors: str
    ) -> None:
        self._client, self._path, self._changed, self._selectors = client, path, changed, selectors
        self.objects: dict[tuple[str, str], Object] = {}
        self.synced = asyncio.Event()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """List, then watch, for ever; list again whenever the watch breaks. End it by cancelling."""
        while True:
            try:
                await self._list_and_watch()
            except ApiError as error:
                if error.code not in (
                    404,
                    410,
                ):  # 404: a custom resource whose definition is not there yet
                    await sleep(0.2)
            except (TimeoutError, aiohttp.ClientError, ConnectionError):
                await sleep(0.2)
            await sleep(0.05)

    async def _list_and_watch(self) -> None:
        answer = await self._client.request("GET", self._path, params=self._selectors)
        kind, api = answer["kind"].removesuffix("List"), answer["apiVersion"]
        listed = {}
        for item in answer["items"]:
            item.setdefault("kind", kind)  # list items omit both on the wire
            item.setdefault("apiVersion", api)
            listed[self._key(item)] = item
        gone = [o for key, o in self.objects.items() if key not in listed]
        self.objects = listed
        for item in gone:
            self._changed("DELETED", item)
        for item in listed.values():
            self._changed("ADDED", item)
        self.synced.set()
        version = answer["metadata"]["resourceVersion"]
        async for kind, item in self._client.watch(self._path, version, **self._selectors):
            if kind == "BOOKMARK":
                continue
            if kind == "DELETED":
                self.objects.pop(self._key(item), None)
            else:
                self.objects[self._key(item)] = item
            self._changed(kind, item)

    @staticmethod
    def _key(item: Object) -> tuple[str, str]:
        return item["metadata"].get("namespace", ""), item["metadata"]["name"]
