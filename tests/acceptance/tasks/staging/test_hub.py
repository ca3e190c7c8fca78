"""Pinning a repo on the hub, and the hub's refusals told apart."""

from __future__ import annotations

import pytest
from slipway_sandbox.testing import HUB_READER, HUB_STRANGER, Faults, Sandbox

from tasks.cloud.waiting import Time
from tasks.records.errors import (
    HubUnavailable,
    LicenceNotAccepted,
    RepoNotFound,
    RevisionNotFound,
    SlipwayError,
    TokenMissing,
    TokenRejected,
)
from tasks.records.model import Source
from tasks.records.results import HubModel
from tasks.staging.addresses import FileAddress
from tasks.staging.download import Downloader
from tasks.staging.hub import read_head, resolve
from tasks.staging.inspection import read_safetensors_header
from tasks.staging.link import Hub
from tasks.staging.ranges import FileRange
from tests.support.clock import Clock
from tests.support.hub_models import MIB, REPO, SECOND

TINY = Source(repo="slipway/tiny-llama")


def ask(sandbox: Sandbox, source: Source, token: str | None = None) -> HubModel:
    clock = Clock(0.0)
    return resolve(source, Hub(token, sandbox.hub_url, time=Time(clock, clock.sleep)))


def test_a_branch_is_pinned_to_a_commit(sandbox: Sandbox) -> None:
    assert len(ask(sandbox, TINY).commit) == 40


def test_a_tag_is_another_commit_than_main(sandbox: Sandbox) -> None:
    assert ask(sandbox, Source(repo=TINY.repo, revision="v1")).commit != ask(sandbox, TINY).commit


def test_large_files_carry_sha256_and_small_ones_git_sha1(sandbox: Sandbox) -> None:
    files = {file.path: file for file in ask(sandbox, TINY).files}
    weights = next(file for path, file in files.items() if path.endswith(".safetensors"))
    assert weights.sha256
    assert not weights.git_sha1
    assert files["config.json"].git_sha1
    assert not files["config.json"].sha256


def test_pickles_are_left_out_where_safetensors_are_and_it_is_said(sandbox: Sandbox) -> None:
    model = ask(sandbox, Source(repo="slipway/pickle-llama"))
    assert not any(file.path.endswith(".bin") for file in model.files)
    assert model.skipped == ("pytorch_model.bin: a pickle, and the repo has safetensors",)


def test_the_head_of_a_file_is_read_by_range(sandbox: Sandbox) -> None:
    model = ask(sandbox, TINY)
    assert read_head(model, "config.json", 1, Hub(endpoint=sandbox.hub_url)) == b"{"


def test_a_safetensors_header_names_its_tensors(sandbox: Sandbox) -> None:
    model = ask(sandbox, TINY)
    path = next(file.path for file in model.files if file.path.endswith(".safetensors"))

    def read(path: str, offset: int, count: int) -> bytes:
        return read_head(model, path, count, Hub(endpoint=sandbox.hub_url), offset=offset)

    header = read_safetensors_header(path, read)
    assert any(entry.get("dtype") == "BF16" for entry in header.values())


@pytest.mark.parametrize(
    ("source", "token", "error"),
    [
        (Source(repo="slipway/tiny-llama-gated"), None, TokenMissing),
        (Source(repo="slipway/tiny-llama-gated"), HUB_STRANGER, LicenceNotAccepted),
        (Source(repo="slipway/tiny-llama-gated"), "hf_nobody", TokenRejected),
        (TINY, "hf_nobody", TokenRejected),
        (Source(repo="slipway/no-such-model"), None, RepoNotFound),
        (Source(repo="slipway/no-such-model"), HUB_READER, RepoNotFound),
        (Source(repo="slipway/tiny-llama", revision="v9"), None, RevisionNotFound),
        (Source(repo="slipway/tiny-llama", allow=("*.gguf",)), None, RepoNotFound),
    ],
)
def test_each_refusal_is_told_apart_with_a_next_command(
    sandbox: Sandbox, source: Source, token: str | None, error: type[SlipwayError]
) -> None:
    with pytest.raises(SlipwayError) as caught:
        ask(sandbox, source, token)
    assert type(caught.value) is error
    assert caught.value.next_command
    assert "hf_" not in str(caught.value)


def test_a_gated_repo_resolves_for_an_account_that_was_let_in(sandbox: Sandbox) -> None:
    assert ask(sandbox, Source(repo="slipway/tiny-llama-gated"), HUB_READER).gated


def test_a_429_is_waited_out(sandbox: Sandbox, faults: Faults) -> None:
    faults.set("hub-429", count=2, value=1)
    assert ask(sandbox, TINY).files


def test_a_hub_that_stays_down_ends_as_unavailable(sandbox: Sandbox, faults: Faults) -> None:
    faults.set("hub-5xx")
    with pytest.raises(HubUnavailable):
        ask(sandbox, TINY)


def test_a_licence_that_is_asked_for_and_a_token_nobody_knows_are_told_apart(
    sandbox: Sandbox, faults: Faults
) -> None:
    faults.set("hub-gated")
    with pytest.raises(LicenceNotAccepted):
        ask(sandbox, TINY, HUB_READER)
    with pytest.raises(TokenMissing):
        ask(sandbox, TINY)
    faults.clear()
    faults.set("hub-401")
    with pytest.raises(TokenRejected):
        ask(sandbox, TINY, HUB_READER)


def test_a_peer_that_trickles_is_left_for_another(sandbox: Sandbox, faults: Faults) -> None:
    faults.set("hub-slow", value=1_000, count=1)
    model = resolve(Source(repo=REPO), Hub(endpoint=sandbox.hub_url))
    file = next(file for file in model.files if file.path == SECOND)
    clock, data = Clock(0.0), bytearray(2 * MIB)
    with Hub(endpoint=sandbox.hub_url, time=Time(clock, clock.sleep)).linked() as link:
        address = FileAddress(link, REPO, model.commit, file)
        Downloader(link, slowest=100 * MIB, patience=0.2).read(FileRange(address, 0, memoryview(data)))
    assert faults.active() == []
    assert data == (sandbox.root / "repo" / SECOND).read_bytes()[: 2 * MIB]


def test_a_file_only_xet_serves_is_read_through_the_hubs_own_client(sandbox: Sandbox, faults: Faults) -> None:
    faults.set("hub-xet-only", target=REPO)
    model = resolve(Source(repo=REPO), Hub(endpoint=sandbox.hub_url))
    read = read_head(model, SECOND, 70_000, Hub(endpoint=sandbox.hub_url), offset=3 * MIB + 5)
    assert read == (sandbox.root / "repo" / SECOND).read_bytes()[3 * MIB + 5 :][:70_000]
