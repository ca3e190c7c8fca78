"""Signed URLs, ranges, quotas and faults, seen by a plain HTTP client."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import httpx
import pytest
import uvloop

from slipway_sandbox.faults import Faults
from slipway_sandbox.hub import Hub, start_hub
from slipway_sandbox.hub.cdn import URL_SECONDS
from slipway_sandbox.hub.models import RECIPE
from slipway_sandbox.hub.transfer import Unsatisfiable, requested_span
from tests.hub.conftest import READER, SHARD, TINY, Clock, settings_in, signed_url

API = "/api/models/slipway/tiny-llama"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 10, False)),
        ("bytes=0-3", (0, 4, True)),
        ("bytes=4-", (4, 6, True)),
        ("bytes=-3", (7, 3, True)),
        ("bytes=-99", (0, 10, True)),
        ("bytes=8-99", (8, 2, True)),
        ("bytes=5-4", (0, 10, False)),
        ("bytes=0-1,4-5", (0, 10, False)),
        ("lines=1-2", (0, 10, False)),
        ("bytes=-", (0, 10, False)),
    ],
)
def test_spans(header: str | None, expected: tuple[int, int, bool]) -> None:
    span = requested_span(header, 10)
    assert (span.offset, span.count, span.partial) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_spans_beyond_the_end(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_span(header, 10)


async def test_ranges_put_together_are_the_file(hub: Hub, http: httpx.AsyncClient) -> None:
    url = await signed_url(http, hub)
    whole = (await http.get(url)).content
    parts = []
    for start in range(0, len(whole), 5_000_000):
        answer = await http.get(url, headers={"Range": f"bytes={start}-{start + 4_999_999}"})
        assert answer.status_code == 206
        end = min(start + 5_000_000, len(whole)) - 1
        assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(whole)}"
        parts.append(answer.content)
    head = await http.head(f"{hub.url}/{TINY}/resolve/main/{SHARD}")
    assert b"".join(parts) == whole
    assert f'"{hashlib.sha256(whole).hexdigest()}"' == head.headers["X-Linked-Etag"]


async def test_a_range_past_the_end_is_416(hub: Hub, http: httpx.AsyncClient) -> None:
    answer = await http.get(await signed_url(http, hub), headers={"Range": "bytes=99999999-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"].startswith("bytes */12")


async def test_if_range_with_another_etag_gets_the_whole_file(hub: Hub, http: httpx.AsyncClient) -> None:
    url = await signed_url(http, hub)
    etag = (await http.head(url)).headers["ETag"]
    same = await http.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await http.head(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


async def test_a_token_sent_to_the_cdn_is_refused(hub: Hub, http: httpx.AsyncClient) -> None:
    answer = await http.get(await signed_url(http, hub), headers={"Authorization": f"Bearer {READER}"})
    assert answer.status_code == 400


async def test_a_url_works_until_it_expires(hub: Hub, http: httpx.AsyncClient, clock: Clock) -> None:
    url = await signed_url(http, hub)
    clock.now += URL_SECONDS - 1
    assert (await http.head(url)).status_code == 200
    clock.now += 2
    assert (await http.head(url)).status_code == 403


async def test_a_changed_signature_or_path_is_refused(hub: Hub, http: httpx.AsyncClient) -> None:
    url = await signed_url(http, hub)
    other = await signed_url(http, hub, path="model-00002-of-00002.safetensors")
    assert (await http.get(url.replace("Signature=", "Signature=0"))).status_code == 403
    assert (await http.get(url.partition("?")[0])).status_code == 403
    assert (await http.head(f"{url.partition('?')[0]}?{other.partition('?')[2]}")).status_code == 403


async def test_a_small_file_is_redirected_on_the_same_host(hub: Hub, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{hub.url}/{TINY}/resolve/main/config.json")
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith("/api/resolve-cache/models/slipway/tiny-llama/")
    cached = await http.get(hub.url + answer.headers["Location"])
    assert cached.json()["model_type"] == "llama"
    again = await http.get(
        hub.url + answer.headers["Location"], headers={"If-None-Match": cached.headers["ETag"]}
    )
    assert again.status_code == 304


async def test_every_answer_says_the_quota(hub: Hub, http: httpx.AsyncClient) -> None:
    answer = await http.get(hub.url + API)
    assert answer.headers["RateLimit"].startswith('"api";r=499;t=')
    assert answer.headers["RateLimit-Policy"] == '"fixed window";"api";q=500;w=300'


async def test_the_quota_is_enforced_and_renewed(hub: Hub, http: httpx.AsyncClient, clock: Clock) -> None:
    statuses = [(await http.get(hub.url + API)).status_code for _ in range(501)]
    assert set(statuses[:500]) == {200} and statuses[500] == 429
    refused = await http.get(hub.url + API)
    assert '"api";r=0' in refused.headers["RateLimit"] and int(refused.headers["Retry-After"]) <= 300
    clock.now += 300
    assert (await http.get(hub.url + API)).status_code == 200


async def test_fault_429_says_how_long(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    faults.set("hub-429", target=TINY, count=1, value=7)
    refused = await http.get(hub.url + API)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
    assert refused.headers["RateLimit"] == '"api";r=0;t=7'
    assert (await http.get(hub.url + API)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("hub-5xx", 503, None), ("hub-401", 401, None), ("hub-gated", 403, "GatedRepo")],
)
async def test_faults_of_the_hub(
    hub: Hub, http: httpx.AsyncClient, faults: Faults, fault: str, status: int, code: str | None
) -> None:
    faults.set(fault, target=TINY)
    url = f"{hub.url}/{TINY}/resolve/main/config.json"
    answer = await http.get(url, headers={"Authorization": f"Bearer {READER}"})
    assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, code)


async def test_fault_reset_breaks_the_connection(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    faults.set("hub-reset", target=f"{TINY}/*", count=1)
    url = await signed_url(http, hub)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await http.get(url)
    assert (await http.get(url)).status_code == 200


async def test_fault_truncated_ends_without_an_error(
    hub: Hub, http: httpx.AsyncClient, faults: Faults
) -> None:
    faults.set("hub-truncated", count=1)
    answer = await http.get(await signed_url(http, hub), headers={"Range": "bytes=0-999"})
    assert len(answer.content) == 500
    assert answer.headers["Content-Range"].startswith("bytes 0-999/")


async def test_fault_wrong_range_says_which(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    faults.set("hub-wrong-range", count=1)
    answer = await http.get(await signed_url(http, hub), headers={"Range": "bytes=100-199"})
    assert answer.headers["Content-Range"].startswith("bytes 101-200/")


async def test_fault_wrong_bytes_flips_one(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    url = await signed_url(http, hub)
    right = (await http.get(url)).content
    faults.set("hub-wrong-bytes", target=TINY, count=1)
    wrong = (await http.get(url)).content
    assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1


async def test_fault_expired_url_needs_a_new_one(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    url = await signed_url(http, hub)
    faults.set("hub-expired-url", count=1)
    assert (await http.get(url)).status_code == 403
    assert (await http.get(url)).status_code == 403, "the old URL stays dead"
    assert (await http.head(await signed_url(http, hub))).status_code == 200


async def test_fault_slow_keeps_to_its_rate(hub: Hub, http: httpx.AsyncClient, faults: Faults) -> None:
    faults.set("hub-slow", value=1_000_000)
    url = await signed_url(http, hub)
    began = time.monotonic()
    await http.get(url, headers={"Range": "bytes=0-299999"})
    assert 0.25 < time.monotonic() - began < 5


def test_files_come_whole_under_uvloop_too(hub_root: Path, tmp_path: Path) -> None:
    async def run() -> None:
        hub = await start_hub(settings_in(hub_root), Faults(tmp_path / "faults.json"))
        try:
            async with httpx.AsyncClient(timeout=10) as http:
                answer = await http.get(await signed_url(http, hub), headers={"Range": "bytes=5-"})
            path = f"hub/models/recipe-{RECIPE}/tiny-llama/main/{SHARD}"
            assert answer.content == (hub_root / path).read_bytes()[5:]
        finally:
            await hub.stop()

    uvloop.run(run())


async def test_models_named_by_the_environment_are_published(
    hub_root: Path, tmp_path: Path, faults: Faults, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("SLIPWAY_SANDBOX_HUB_MODELS", f"me/mine={tmp_path}")
    hub = await start_hub(settings_in(hub_root), faults)
    try:
        assert (await http.get(hub.url + "/api/models/me/mine")).status_code == 200
    finally:
        await hub.stop()


async def test_a_malformed_list_of_models_is_refused(
    hub_root: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SANDBOX_HUB_MODELS", "nothing")
    with pytest.raises(ValueError, match="repo=folder"):
        await start_hub(settings_in(hub_root), faults)


async def test_python_m_sandbox_hub_serves_and_ends_on_sigterm(hub_root: Path, tmp_path: Path) -> None:
    import sys
    from dataclasses import replace

    settings = replace(settings_in(tmp_path), root=tmp_path)
    settings.save()
    (tmp_path / "hub").symlink_to(hub_root / "hub")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "slipway_sandbox.hub", "--root", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        url = line.split()[2].rstrip(",")
        async with httpx.AsyncClient() as http:
            assert (await http.get(url + API)).status_code == 200
    finally:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
