from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub import Hub, start_hub
from slipway_sandbox.settings import Settings

READER = "hf_sandbox_reader"
STRANGER = "hf_sandbox_stranger"
TINY = "slipway/tiny-llama"
GATED = "slipway/tiny-llama-gated"
SHARD = "model-00001-of-00002.safetensors"


@dataclass
class Clock:
    """A clock a test moves by hand; seconds since 1970."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def settings_in(root: Path) -> Settings:
    """Free ports everywhere."""
    return Settings(root, "127.77", 0, 0, 0, 0, 0, 0)


@pytest.fixture(scope="session")
def hub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub-root")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults.json", chance=lambda: 0.5)


@pytest.fixture
async def hub(hub_root: Path, faults: Faults, clock: Clock) -> AsyncIterator[Hub]:
    running = await start_hub(settings_in(hub_root), faults, clock)
    yield running
    await running.stop()


@pytest.fixture
def api(hub: Hub) -> Callable[..., HfApi]:
    """Makes a real client; its calls block, so they run in a thread."""

    def make(token: str | bool = False) -> HfApi:
        return HfApi(endpoint=hub.url, token=token)

    return make


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(follow_redirects=False, timeout=10) as client:
        yield client


async def signed_url(http: httpx.AsyncClient, hub: Hub, repo: str = TINY, path: str = SHARD) -> str:
    answer = await http.get(f"{hub.url}/{repo}/resolve/main/{path}")
    assert answer.status_code == 302
    return answer.headers["Location"]
