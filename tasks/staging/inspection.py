"""What a pinned repo's small files say, read from wherever its files are: the hub, or a bucket they were staged into."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.records.errors import StagingFailed
from tasks.records.results import HubFile, HubInspection, HubModel
from tasks.staging import manifest as manifests
from tasks.staging.objects import Bucket

Read = Callable[[str, int, int], bytes]  # path, offset, bytes: as many of them as the file has there

_HEADER_AT_MOST = 100_000_000  # bytes, safetensors' own limit of a header
_READERS = 8  # headers at a time: a large model has more than a hundred files
_FIRST_READ = 1 << 16  # bytes: most headers come with their length in one request


def inspect(model: HubModel, read: Read) -> HubInspection:
    """config.json, and the bytes of all tensors by dtype from the safetensors headers. Raises StagingFailed."""
    sizes: dict[str, int] = {}
    weights = [file.path for file in model.files if file.path.endswith(".safetensors")]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="header") as pool:
        for header in pool.map(lambda path: read_safetensors_header(path, read), weights):
            for name, tensor in header.items():
                if name != "__metadata__":
                    begin, end = tensor["data_offsets"]
                    sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + end - begin
    config = {}
    about = next((file for file in model.files if file.path == "config.json"), None)
    if about:
        config = json.loads(read(about.path, 0, about.size))
    return HubInspection(model=model, config=config, tensor_bytes=sizes)


def read_safetensors_header(path: str, read: Read) -> dict[str, Any]:
    """The header of a safetensors file: tensor name to dtype, shape and offsets. One small range is read, or two.

    Format: https://github.com/huggingface/safetensors#format. Raises StagingFailed where it is not one.
    """
    first = read(path, 0, _FIRST_READ)
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 2 <= length <= _HEADER_AT_MOST:
        raise StagingFailed(f"{path} is no safetensors file: a header of {length} bytes")
    text = first[8 : 8 + length]
    if len(text) < length:
        text += read(path, len(first), length - len(text))
    try:
        header = json.loads(text)
    except ValueError as error:
        raise StagingFailed(f"{path} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise StagingFailed(f"{path} is no safetensors file: its header is a {type(header).__name__}")
    return header


def inspect_staged(bucket: Bucket, repo: str, commit: str) -> tuple[HubInspection, manifests.StoredManifest]:
    """What is staged there, by its manifest and without the hub. Raises StagingFailed where it is not whole."""
    prefix = manifests.prefix_of(repo, commit)
    stored = manifests.read(bucket, prefix)
    gone = manifests.missing(stored.manifest, prefix, bucket.sizes(f"{prefix}/")) if stored else []
    if stored is None or gone:
        raise StagingFailed(
            f"s3://{bucket.name}/{prefix} is not whole: it cannot be promoted",
            evidence=[f"missing: {path}" for path in gone[:10]] or ["it has no manifest"],
            next_command="deploy it again in the environment it comes from: what is missing is staged anew",
        )
    sizes = {file.path: file.size for file in stored.manifest.files}

    def read(path: str, offset: int, count: int) -> bytes:
        count = max(0, min(count, sizes[path] - offset))
        return bucket.stream(f"{prefix}/{path}", offset, count) if count else b""

    files = tuple(HubFile(path=f.path, size=f.size, sha256=f.sha256) for f in stored.manifest.files)
    model = HubModel(repo=repo, commit=commit, gated=False, files=files)
    return inspect(model, read), stored
