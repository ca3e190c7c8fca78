"""The receiver over HTTP: forged, late, large and broken requests are refused, and true ones answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tasks.cloud.flow_runs import Run
from tasks.records.errors import InputError
from tasks.webhook import service
from tasks.webhook.__main__ import main, read_secret
from tasks.webhook.decide import Followed
from tasks.webhook.looks import Looks
from tasks.webhook.service import LARGEST_BODY, TELL_SECONDS, Forged, Service, application
from tests.support.holding import reached, serve

SECRET = "0123456789abcdef0123456789abcdef"
COMMIT = (
    b'{"event": {"action": "update", "scope": "repo.content"}, "repo": {"type": "model", "name": "x/y"},'
    b' "updatedRefs": [{"ref": "refs/heads/main", "oldSha": null, "newSha": "575db8b7"}]}'
)


@dataclass
class Receiver:
    client: httpx.AsyncClient
    now: float = 0.0
    started: list[str] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)
    breaks: Exception | None = None

    async def post(self, body: bytes = COMMIT, secret: str | None = SECRET) -> httpx.Response:
        headers = [(b"X-Webhook-Secret", secret.encode())] if secret is not None else []
        return await self.client.post("/hub", content=body, headers=headers)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver(httpx.AsyncClient())

    def start(model: str, key: str) -> Run:
        made.started.append(model)
        if made.breaks:
            raise made.breaks
        return Run("COMPLETED", True)

    def tell(count: int, peer: str) -> None:
        made.told.append((count, peer))

    looks = Looks(start, 0.0)
    forged = Forged(tell, lambda: made.now)
    app = application(Service(SECRET, (Followed("a", "x/y", "main"),), looks, forged), looks)
    async with (
        serve(app) as address,
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client,
    ):
        made.client = client
        yield made


async def test_a_commit_of_a_followed_repo_starts_a_run() -> None:
    async with receiver() as one:
        answer = await one.post()
        assert (answer.status_code, answer.json()) == (202, {"models": ["a"], "why": ""})
        await reached(lambda: one.started == ["a"])
        assert (await one.client.get("/healthz")).status_code == 200
    assert one.told == []


async def test_a_receiver_that_looks_no_more_says_so_where_a_kubelet_asks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with receiver() as one:
        one.breaks = RuntimeError("a mistake of ours")
        await one.post()
        await reached(lambda: "nothing looks any more" in caplog.text)
        assert (await one.client.get("/healthz")).status_code == 503
    assert "a mistake of ours" in caplog.text


@pytest.mark.parametrize("secret", [None, "", "x", SECRET[:-1], f"{SECRET}0", SECRET.upper(), "ß" * 32])
async def test_a_forged_secret_is_refused_and_told(secret: str | None) -> None:
    async with receiver() as one:
        answer = await one.post(secret=secret)
        assert answer.status_code == 401
        await reached(lambda: one.told)
    assert one.told == [(1, "127.0.0.1")]
    assert one.started == []
    assert SECRET not in answer.text


async def test_the_secret_in_the_address_is_no_secret() -> None:
    async with receiver() as one:
        answer = await one.client.post(f"/hub?secret={SECRET}", content=COMMIT)
    assert answer.status_code == 401


async def test_many_forged_requests_are_told_once_a_minute_with_their_number() -> None:
    async with receiver() as one:
        for _ in range(5):
            await one.post(secret="x")
        await reached(lambda: one.told)
        one.now = TELL_SECONDS
        await one.post(secret="x")
        await reached(lambda: len(one.told) == 2)
    assert [count for count, _ in one.told] == [1, 5]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not a payload of the hub"),
        (b" " * (LARGEST_BODY + 1), 413, "at most"),
        (COMMIT.replace(b"x/y", b"x/z"), 202, "no model follows the model x/z"),
    ],
)
async def test_what_is_not_about_a_followed_model_starts_nothing(body: bytes, status: int, said: str) -> None:
    async with receiver() as one:
        answer = await one.post(body)
    assert answer.status_code == status
    assert said in answer.text
    assert one.started == []


async def test_a_body_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BODY_SECONDS", 0.05)

    async def slowly() -> AsyncIterator[bytes]:
        yield COMMIT[:10]
        await asyncio.sleep(0.5)
        yield COMMIT[10:]

    async with receiver() as one:
        answer = await one.client.post("/hub", content=slowly(), headers={"X-Webhook-Secret": SECRET})
    assert answer.status_code == 408
    assert one.started == []


@pytest.mark.parametrize("text", [None, "", "short", "ß" * 40])
def test_it_does_not_start_without_a_secret_that_the_hub_can_send(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match="no secret of 32 ASCII characters"):
        read_secret(file)
    file.write_text(f"{SECRET}\n")
    assert read_secret(file) == SECRET


def test_it_does_not_start_where_releases_come_by_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "environments").mkdir()
    sandbox = (Path(__file__).parents[4] / "environments" / "sandbox.yaml").read_text()
    guarded = sandbox.replace("name: sandbox\n", "name: guarded\nprotected: true\n", 1)
    (tmp_path / "environments" / "guarded.yaml").write_text(guarded)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    with pytest.raises(InputError, match="takes releases by promotion"):
        main("guarded", "secret")
