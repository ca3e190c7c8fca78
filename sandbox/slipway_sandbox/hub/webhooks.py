"""The hub's webhooks: made as huggingface_hub.create_webhook makes them (2.4.0), told of each commit that is published.

Payload, version 3: huggingface/hub-docs at 00295c29, docs/hub/webhooks.md. Sent once, whatever the answer.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import aiohttp
from aiohttp import web

from slipway_sandbox.hub.repos import Commit, Repo

ROUTE = "/api/settings/webhooks"
SECONDS = 10.0


class Webhooks:
    """What was registered; `stop` ends what is being sent."""

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def make(self, request: web.Request) -> web.Response:
        """The answer to POST /api/settings/webhooks."""
        asked = await request.json()
        made = {"id": secrets.token_hex(12), "secret": None, **asked, "disabled": False}
        self._made.append(made)
        return web.json_response({"webhook": made})

    def tell(self, repo: Repo, before: str | None, commit: Commit) -> None:
        """Send a commit of main to each webhook that watches the repository or its owner."""
        owner = repo.repo_id.partition("/")[0]
        for one in self._made:
            if "repo" in one["domains"] and {repo.repo_id, owner} & {item["name"] for item in one["watched"]}:
                task = asyncio.create_task(_send(one, payload(one["id"], repo.repo_id, before, commit.sha)))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def stop(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)


async def _send(webhook: dict[str, Any], document: dict[str, Any]) -> None:
    headers = {"X-Webhook-Secret": webhook["secret"]} if webhook["secret"] else {}
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(webhook["url"], json=document, headers=headers) as answer,
        ):
            print(f"webhook {webhook['id']}: {webhook['url']} answered {answer.status}", flush=True)
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"webhook {webhook['id']}: {type(error).__name__}: {error}", flush=True)


def payload(webhook: str, repo: str, before: str | None, sha: str) -> dict[str, Any]:
    """What the hub sends of a new commit."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": "model",
            "name": repo,
            "id": "0" * 24,
            "private": False,
            "url": {
                "web": f"https://huggingface.co/{repo}",
                "api": f"https://huggingface.co/api/models/{repo}",
            },
            "headSha": sha,
            "tags": [],
            "owner": {"id": "0" * 24},
        },
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": before, "newSha": sha}],
        "webhook": {"id": webhook, "version": 3},
    }
