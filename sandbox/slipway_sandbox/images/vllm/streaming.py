"""Stream a model from S3 as `--load-format runai_streamer` does: small files into a folder, weights by ranged GETs through memory.

Source: vllm 0.32.0, transformers_utils/runai_utils.py (`ObjectStorageModel`), config/model.py (`maybe_pull_model_tokenizer_for_runai`),
model_executor/model_loader/runai_streamer_loader.py; runai-model-streamer 0.17.1, s3_utils. Credentials and endpoint are boto3's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any, Final

import boto3

from slipway_sandbox.images.vllm.model import DTYPE_BYTES, ELEMENT_BYTES, FLOATS, Weights

SCHEME: Final = "s3://"
NOT_PULLED: Final = ("*.pt", "*.safetensors", "*.bin", "*.tensors", "*.pth")
KEYS: Final = {"distributed", "concurrency", "memory_limit"}
CHUNK: Final = 2 << 20  # bytes of one request: RUNAI_STREAMER_CHUNK_BYTESIZE is 8 MiB for object stores
DEFAULT_CONCURRENCY: Final = 16


@dataclass(frozen=True)
class Streaming:
    """`--model-loader-extra-config`. `memory`: bytes in flight at most; -1: no limit."""

    concurrency: int = DEFAULT_CONCURRENCY
    memory: int = -1

    @classmethod
    def of(cls, args: argparse.Namespace) -> Streaming:
        """Raises ValueError as the loader does."""
        given = args.model_loader_extra_config or {}
        if unexpected := set(given) - KEYS:
            raise ValueError(f"Unexpected extra config keys for runai_streamer: {unexpected}")
        found = cls(given.get("concurrency", DEFAULT_CONCURRENCY), given.get("memory_limit", -1))
        if not isinstance(found.concurrency, int) or found.concurrency <= 0:
            raise ValueError(f"concurrency must be a positive integer, got {found.concurrency!r}")
        if not isinstance(found.memory, int) or found.memory < -1:
            raise ValueError(f"memory_limit must be an integer >= -1, got {found.memory!r}")
        return found

    @property
    def requests(self) -> int:
        """Requests at a time."""
        return self.concurrency if self.memory < 0 else max(1, min(self.concurrency, self.memory // CHUNK))


class Streamed:
    """One model in S3."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket, _, self._prefix = address.removeprefix(SCHEME).rstrip("/").partition("/")
        self._s3: Any = boto3.client("s3")

    def pull_files(self) -> Path:
        """Everything but weights, in a folder of its own."""
        folder = (
            Path(tempfile.gettempdir())
            / f"model_streamer-{hashlib.sha256(self.address.encode()).hexdigest()[:8]}"
        )
        for key, _ in self._objects():
            name = key.removeprefix(f"{self._prefix}/")
            if not any(fnmatchcase(name, pattern) for pattern in NOT_PULLED):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(self._range(key, 0, None))
        return folder

    def read_weights(self, dtype: str, limits: Streaming) -> Weights:
        """Read every safetensors file whole. Raises RuntimeError where there is none, ValueError for one that is none."""
        files = [(key, size) for key, size in self._objects() if key.endswith(".safetensors")]
        if not files:
            raise RuntimeError(f"Cannot find any safetensors model weights with `{self.address}`")
        elements = size = 0.0
        with ThreadPoolExecutor(limits.requests) as pool:
            for key, total in files:
                starts = range(0, total, CHUNK)
                parts = pool.map(lambda at, key=key: self._range(key, at, CHUNK), starts)
                first, read = b"", 0
                for part in parts:
                    first = first or part
                    read += len(part)
                if read != total:
                    raise OSError(f"Could not read all of {key}: {read} of {total} bytes")
                for count, kind in self._tensors(key, first):
                    elements += count
                    size += count * (DTYPE_BYTES[dtype] if kind in FLOATS else ELEMENT_BYTES.get(kind, 2))
        return Weights(tuple(Path(key) for key, _ in files), int(elements), int(size))

    def _tensors(self, key: str, first: bytes) -> Iterator[tuple[int, str]]:
        length = int.from_bytes(first[:8], "little")
        text = first[8 : 8 + length] if length + 8 <= len(first) else self._range(key, 8, length)
        for name, tensor in json.loads(text).items():
            if name != "__metadata__":
                yield prod(tensor["shape"]), tensor["dtype"]

    def _objects(self) -> Iterator[tuple[str, int]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self._prefix}/"
        )
        for page in pages:
            for item in page.get("Contents", ()):
                yield item["Key"], item["Size"]

    def _range(self, key: str, at: int, count: int | None) -> bytes:
        asked = {} if count is None else {"Range": f"bytes={at}-{at + count - 1}"}
        body: bytes = self._s3.get_object(Bucket=self.bucket, Key=key, **asked)["Body"].read()
        return body
