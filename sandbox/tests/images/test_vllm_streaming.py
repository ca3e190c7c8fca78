"""Weights in S3, read by the stand-in's own parts: no server is started."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from slipway_sandbox.hub.models import make_all
from slipway_sandbox.images.vllm.model import read_weights
from slipway_sandbox.images.vllm.streaming import CHUNK, Streamed, Streaming

BUCKET, PREFIX = "models", "slipway/tiny-llama/commit"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("models"), {})


@pytest.fixture
def staged(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Streamed]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        for file in (made / "tiny-llama" / "main").iterdir():
            s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{file.name}", Body=file.read_bytes())
        yield Streamed(f"s3://{BUCKET}/{PREFIX}")


def test_a_stream_reads_what_a_folder_has(made: Path, staged: Streamed) -> None:
    folder = staged.pull_files()
    assert {"config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert not list(folder.glob("*.safetensors"))
    read = read_weights(made / "tiny-llama" / "main", "m", "bfloat16")
    streamed = staged.read_weights("bfloat16", Streaming(concurrency=4))
    assert (streamed.bytes, streamed.elements) == (read.bytes, read.elements)


def test_a_prefix_without_weights_is_told_as_vllm_does(staged: Streamed) -> None:
    with pytest.raises(RuntimeError, match="Cannot find any safetensors model weights"):
        Streamed(f"s3://{BUCKET}/nothing").read_weights("bfloat16", Streaming())


@pytest.mark.parametrize(
    ("config", "requests"),
    [(None, 16), ({"concurrency": 4}, 4), ({"memory_limit": 3 * CHUNK}, 3), ({"memory_limit": 0}, 1)],
)
def test_concurrency_and_memory_bound_the_requests(config: dict[str, int] | None, requests: int) -> None:
    assert Streaming.of(argparse.Namespace(model_loader_extra_config=config)).requests == requests


@pytest.mark.parametrize("config", [{"concurrency": 0}, {"memory_limit": -2}, {"threads": 4}])
def test_a_limit_that_the_loader_refuses_ends_the_start(config: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|Unexpected"):
        Streaming.of(argparse.Namespace(model_loader_extra_config=config))
