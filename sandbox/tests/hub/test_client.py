"""The real huggingface_hub client against the hub."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from asyncio import to_thread
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from huggingface_hub import HfApi, WebhookPayload, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import safe_open
from tokenizers import Tokenizer

from slipway_sandbox.hub import Hub, huge
from tests.hub.conftest import GATED, READER, SHARD, STRANGER, TINY, Clock

Clients = Callable[..., HfApi]
TINY_MAIN = "0dffd70b7cd637bf94558e10b5a3966c865d57c0"
TINY_V1 = "543a83e933aba6b37909464409bdc8698b8a89c9"


def sha256_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def test_commits_have_the_same_ids_on_every_machine(api: Clients) -> None:
    main = await to_thread(api().model_info, TINY)
    tagged = await to_thread(api().model_info, TINY, revision="v1")
    assert (main.sha, tagged.sha) == (TINY_MAIN, TINY_V1)


async def test_model_info_says_sizes_and_hashes(api: Clients) -> None:
    info = await to_thread(api().model_info, TINY, files_metadata=True)
    assert info.siblings and info.safetensors
    files = {sibling.rfilename: sibling for sibling in info.siblings}
    shard, config = files[SHARD], files["config.json"]
    assert shard.size and shard.lfs and shard.lfs.size == shard.size
    assert len(shard.lfs.sha256) == 64
    assert config.lfs is None and config.blob_id and len(config.blob_id) == 40
    assert 20e6 < sum(sibling.size or 0 for sibling in info.siblings) < 28e6
    assert info.safetensors.total == 11_999_616


async def test_head_of_a_large_file_names_its_sha256_and_the_cdn(hub: Hub, api: Clients) -> None:
    url = hf_hub_url(TINY, SHARD, endpoint=hub.url)
    metadata = await to_thread(lambda: api().get_hf_file_metadata(url=url))
    assert metadata.commit_hash == TINY_MAIN
    assert metadata.etag and len(metadata.etag) == 64
    assert metadata.location.startswith(hub.cdn_url) and "://localhost:" in metadata.location
    assert metadata.xet_file_data is None


async def test_head_of_a_small_file_names_its_git_id(hub: Hub, api: Clients) -> None:
    url = hf_hub_url(TINY, "config.json", endpoint=hub.url)
    metadata = await to_thread(lambda: api().get_hf_file_metadata(url=url))
    assert metadata.etag and len(metadata.etag) == 40
    assert metadata.size and metadata.size > 500


async def test_a_downloaded_shard_has_the_sha256_the_hub_says(api: Clients, tmp_path: Path) -> None:
    path = await to_thread(api().hf_hub_download, TINY, SHARD, cache_dir=tmp_path)
    info = await to_thread(api().model_info, TINY, files_metadata=True)
    said = next(s.lfs.sha256 for s in info.siblings or [] if s.rfilename == SHARD and s.lfs)
    assert await to_thread(sha256_of, path) == said


async def test_a_snapshot_is_a_llama_that_loads(api: Clients, tmp_path: Path) -> None:
    folder = Path(await to_thread(api().snapshot_download, TINY, cache_dir=tmp_path))
    config = json.loads((folder / "config.json").read_text())
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "A ship is launched at 20 knots; naïve? 日本"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.get_vocab_size() == config["vocab_size"]
    with safe_open(folder / index["weight_map"]["lm_head.weight"], "np") as file:
        assert file.get_slice("lm_head.weight").get_shape() == [config["vocab_size"], config["hidden_size"]]
    for name in set(index["weight_map"].values()):
        with safe_open(folder / name, "np") as file:
            assert all(index["weight_map"][tensor] == name for tensor in file.keys())  # noqa: SIM118


async def test_the_older_revision_differs_in_one_shard_only(api: Clients) -> None:
    def shards(revision: str) -> dict[str, str]:
        info = api().model_info(TINY, revision=revision, files_metadata=True)
        return {s.rfilename: s.lfs.sha256 for s in info.siblings or [] if s.lfs}

    old, new = await to_thread(shards, "v1"), await to_thread(shards, "main")
    assert [name for name in new if new[name] != old[name]] == ["model-00002-of-00002.safetensors"]


async def test_a_short_commit_id_is_a_revision(api: Clients) -> None:
    assert (await to_thread(api().repo_info, TINY, revision=TINY_V1[:8])).sha == TINY_V1


async def test_an_unknown_token_is_refused(api: Clients) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        await to_thread(api("hf_nobody").model_info, TINY)
    assert refused.value.response.status_code == 401
    assert not isinstance(refused.value, RepositoryNotFoundError)


@pytest.mark.parametrize(("token", "status"), [(False, 401), (READER, 404)])
async def test_a_missing_repo(api: Clients, token: str | bool, status: int) -> None:
    with pytest.raises(RepositoryNotFoundError) as refused:
        await to_thread(api(token).model_info, "slipway/absent")
    assert refused.value.response.status_code == status


async def test_a_missing_revision(api: Clients) -> None:
    with pytest.raises(RevisionNotFoundError):
        await to_thread(api().model_info, TINY, revision="v99")


async def test_a_missing_file(api: Clients, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError):
        await to_thread(api().hf_hub_download, TINY, "absent.json", cache_dir=tmp_path)


@pytest.mark.parametrize(("token", "status"), [(False, 401), (STRANGER, 403)])
async def test_a_gated_repo_refuses_files(api: Clients, tmp_path: Path, token: str, status: int) -> None:
    with pytest.raises(GatedRepoError) as refused:
        await to_thread(api(token).hf_hub_download, GATED, "config.json", cache_dir=tmp_path)
    assert refused.value.response.status_code == status


async def test_a_gated_repo_is_described_to_everyone(api: Clients) -> None:
    assert (await to_thread(api().model_info, GATED)).gated == "manual"


async def test_an_accepted_account_reads_the_gated_repo(api: Clients, tmp_path: Path) -> None:
    path = await to_thread(api(READER).hf_hub_download, GATED, SHARD, cache_dir=tmp_path)
    assert await to_thread(os.path.getsize, path) > 10_000_000


async def test_the_huge_model_shows_its_size_by_headers_alone(api: Clients) -> None:
    info = await to_thread(api().model_info, "slipway/huge-llama", files_metadata=True)
    assert info.safetensors and info.safetensors.total == 70_553_706_496  # Llama 3.1 70B's published count
    assert sum(s.size or 0 for s in info.siblings or []) > 141e9
    metadata = await to_thread(api().get_safetensors_metadata, "slipway/huge-llama")
    assert metadata.parameter_count == {"BF16": 70_553_706_496}


async def test_the_huge_models_sha256_are_true() -> None:
    name, blob = min(huge.weight_blobs().items(), key=lambda item: item[1].size)
    digest, offset = hashlib.sha256(), 0
    while chunk := blob.source.read(offset, 1 << 20):
        digest.update(chunk)
        offset += len(chunk)
    assert digest.hexdigest() == blob.sha256, name


async def test_the_pickle_repo_offers_both_forms(api: Clients) -> None:
    files = await to_thread(api().list_repo_files, "slipway/pickle-llama")
    assert {"model.safetensors", "pytorch_model.bin"} <= set(files)


async def test_a_folder_is_published_and_a_change_is_a_new_commit(
    hub: Hub, api: Clients, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = await hub.add_repo("someone/mine", folder)
    assert await hub.add_repo("someone/mine", folder) == first
    (folder / "config.json").write_text('{"model_type": "llama"}')
    second = await hub.add_repo("someone/mine", folder)
    info = await to_thread(api().model_info, "someone/mine")
    assert info.sha == second != first
    assert (await to_thread(api().model_info, "someone/mine", revision=first)).sha == first


async def test_a_folder_is_published_while_the_hub_runs_and_committed_then(
    hub: Hub, api: Clients, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    asked = {"repo": "someone/mine", "folder": str(tmp_path)}
    answer = await to_thread(httpx.post, f"{hub.url}/sandbox/publish", json=asked, trust_env=False)
    info = await to_thread(api().model_info, "someone/mine")
    assert info.sha == answer.json()["commit"]
    assert info.last_modified
    assert info.last_modified.timestamp() == Clock().now


async def test_a_webhook_is_told_of_a_commit_as_the_hubs_own_client_reads_it(
    hub: Hub, api: Clients, tmp_path: Path
) -> None:
    heard: list[tuple[str | None, WebhookPayload]] = []

    async def hear(request: web.Request) -> web.Response:
        document = WebhookPayload.model_validate_json(await request.read())
        heard.append((request.headers.get("X-Webhook-Secret"), document))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/hub", hear)
    async with TestServer(app) as server:
        for watched in ("someone/mine", "another"):
            await to_thread(
                api(READER).create_webhook,
                url=str(server.make_url("/hub")),
                watched=[{"type": "model", "name": watched}],
                domains=["repo"],
                secret="told",
            )
        (tmp_path / "config.json").write_text("{}")
        first = await hub.add_repo("someone/mine", tmp_path)
        assert await hub.add_repo("someone/mine", tmp_path) == first  # nothing new is not told
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        second = await hub.add_repo("someone/mine", tmp_path)
        async with asyncio.timeout(10):
            while len(heard) < 2:  # noqa: ASYNC110  another task appends
                await asyncio.sleep(0.01)
    assert {secret for secret, _ in heard} == {"told"}
    refs = [(document.updatedRefs or [])[0] for _, document in heard]
    assert {(ref.ref, ref.oldSha, ref.newSha) for ref in refs} == {
        ("refs/heads/main", None, first),
        ("refs/heads/main", first, second),
    }
    assert {document.event.scope for _, document in heard} == {"repo.content"}


async def test_nobody_without_a_token_makes_a_webhook(hub: Hub) -> None:
    answer = await to_thread(httpx.post, f"{hub.url}/api/settings/webhooks", json={}, trust_env=False)
    assert answer.status_code == 401
