"""The hub of one sandbox: its models, its two listeners, and publishing folders of one's own."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub import encoders, huge, models
from slipway_sandbox.hub.accounts import RateLimiter
from slipway_sandbox.hub.api import HubApi
from slipway_sandbox.hub.blobs import Hasher
from slipway_sandbox.hub.cdn import Cdn, Signer
from slipway_sandbox.hub.repos import Repo, read_folder
from slipway_sandbox.hub.webhooks import Webhooks
from slipway_sandbox.settings import Settings

MODELS_VARIABLE = "SLIPWAY_SANDBOX_HUB_MODELS"  # repo=folder[,repo=folder…]: published at start

# Repositories of its own beside huge-llama: name -> (gated, what the hub calls its task).
OWN: dict[str, tuple[str | bool, str]] = {
    "tiny-llama": (False, "text-generation"),
    "tiny-llama-gated": ("manual", "text-generation"),
    "pickle-llama": (False, "text-generation"),
    "tiny-base": (False, "text-generation"),
    "tiny-wide": (False, "text-generation"),
    "tiny-adapter": (False, "text-generation"),
    "tiny-embedding": (False, "sentence-similarity"),
    "tiny-reranker": (False, "text-classification"),
}
MORE = {
    "huge-llama": huge.write_plain_files,
    "tiny-embedding": encoders.write_embedding,
    "tiny-reranker": encoders.write_reranker,
}


class Hub:
    """A running hub. `url` is what HF_ENDPOINT names; `cdn_url` has another host name, as the real one's has."""

    def __init__(self, settings: Settings, faults: Faults, clock: Callable[[], float] = time.time) -> None:
        self._folder = settings.root / "hub"
        self._faults, self._clock = faults, clock
        self._repos: dict[str, Repo] = {}
        self._runners: list[web.AppRunner] = []
        self._publishing = asyncio.Lock()
        self._ports = (settings.hub_port, settings.cdn_port)
        self._hasher = Hasher(self._folder / "oids.json")
        self._webhooks = Webhooks()
        self.url = self.cdn_url = ""

    async def start(self) -> None:
        """Make what is not made yet, then listen. A port of 0 takes a free one. Raises OSError when one is taken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._publish_own)
        signer = Signer(secrets.token_bytes(32), self._clock)
        cdn = Cdn(self._repos, signer, self._faults)
        try:
            self.cdn_url = f"http://localhost:{await self._listen(cdn.application(), self._ports[1])}"
            limiter = RateLimiter(self._clock)
            api = HubApi(
                self._repos, self._faults, signer, limiter, self.cdn_url, self._publish_now, self._webhooks
            )
            self.url = f"http://127.0.0.1:{await self._listen(api.application(), self._ports[0])}"
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        while self._runners:
            await self._runners.pop().cleanup()
        await self._webhooks.stop()

    async def _publish_now(self, repo_id: str, folder: Path) -> str:
        return await self.add_repo(repo_id, folder, epoch=int(self._clock()))

    async def add_repo(
        self,
        repo_id: str,
        folder: Path,
        *,
        gated: bool = False,
        tag: str | None = None,
        epoch: int | None = None,
    ) -> str:
        """Publish what a folder holds now as main's newest commit; returns the commit's sha.

        The folder is served from where it is. `epoch`: when it is committed; default: a day after the one before. Raises FileNotFoundError when it holds nothing,
        ValueError when the id is not namespace/name.
        """
        repo = self._repos.get(repo_id) or Repo(repo_id, gated="manual" if gated else False)
        async with self._publishing:
            files = await asyncio.to_thread(read_folder, folder, self._hasher)
        before = repo.branches.get("main")
        commit = repo.commit(files, f"Upload {folder.name}", tag, epoch)
        self._repos[repo_id] = repo
        if commit.sha != before:
            self._webhooks.tell(repo, before, commit)
        return commit.sha

    async def _listen(self, app: web.Application, port: int) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port, backlog=512).start()
        listening: int = runner.addresses[0][1]
        return listening

    def _publish_own(self) -> None:
        made = models.make_all(self._folder / "models", MORE)
        for name, (gated, task) in OWN.items():
            card = {"license": "llama3.1" if gated else "apache-2.0", "pipeline_tag": task}
            repo = Repo(f"slipway/{name}", gated, card)
            for revision in ("v1", "main"):
                if (made / name / revision).is_dir():
                    files = read_folder(made / name / revision, self._hasher)
                    repo.commit(files, f"Upload {name}, {revision}", "v1" if revision == "v1" else None)
            self._repos[repo.repo_id] = repo
        huge_llama = Repo("slipway/huge-llama", False, {"license": "llama3.1"})
        plain = read_folder(made / "huge-llama" / "main", self._hasher)
        huge_llama.commit({**plain, **huge.weight_blobs()}, "Upload huge-llama")
        self._repos[huge_llama.repo_id] = huge_llama


async def start_hub(settings: Settings, faults: Faults, clock: Callable[[], float] = time.time) -> Hub:
    """A hub listening on 127.0.0.1, with the sandbox's models and those SLIPWAY_SANDBOX_HUB_MODELS names.

    Raises OSError when a port is taken, ValueError when the variable does not read repo=folder[,…].
    """
    wanted = _models_to_publish(os.environ.get(MODELS_VARIABLE, ""))
    hub = Hub(settings, faults, clock)
    await hub.start()
    try:
        for repo_id, folder in wanted:
            await hub.add_repo(repo_id, folder)
    except (OSError, ValueError):
        await hub.stop()
        raise
    return hub


def _models_to_publish(text: str) -> list[tuple[str, Path]]:
    pairs = []
    for pair in filter(None, text.split(",")):
        repo_id, equals, folder = pair.partition("=")
        if not equals:
            raise ValueError(f"{MODELS_VARIABLE} reads repo=folder[,repo=folder…], not {pair!r}")
        pairs.append((repo_id.strip(), Path(folder.strip()).expanduser()))
    return pairs
