"""Read config.json and the safetensors headers of a pinned repo, from the hub or from the bucket it was staged into."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.records.errors import StagingFailed
from tasks.records.results import HubFile, HubInspection, HubModel, StagedModel
from tasks.staging import model_manifest
from tasks.staging.folder import StagedFolder
from tasks.staging.objects import Bucket

ReadBytes = Callable[[str, int, int], bytes]  # path, offset, count: fewer where the file ends before

_HEADER_AT_MOST = 100_000_000  # bytes, safetensors' own limit of a header
_READERS = 8  # headers at a time: a large model has more than a hundred files
_FIRST_READ = 1 << 16  # bytes: most headers come with their length in one request


def inspect(model: HubModel, read: ReadBytes) -> HubInspection:
    """Read config.json, and from the safetensors headers the bytes of all tensors by dtype. Raises StagingFailed."""
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


def read_safetensors_header(path: str, read: ReadBytes) -> dict[str, Any]:
    """Read the header of a safetensors file, in one small range or two: tensor name to dtype, shape and offsets.

    Format: https://github.com/huggingface/safetensors#format. Raises StagingFailed where it is not one.
    """
    first = read(path, 0, _FIRST_READ)
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 2 <= length <= _HEADER_AT_MOST:
        raise StagingFailed(f"{path} is not a safetensors file: a header of {length} bytes")
    text = first[8 : 8 + length]
    if len(text) < length:
        text += read(path, len(first), length - len(text))
    try:
        header = json.loads(text)
    except ValueError as error:
        raise StagingFailed(f"{path} is not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise StagingFailed(f"{path} is not a safetensors file: its header is a {type(header).__name__}")
    return header


def inspect_staged(bucket: Bucket, repo: str, commit: str) -> tuple[HubInspection, StagedModel]:
    """Inspect what is staged, by its manifest and without the hub. Raises StagingFailed where it is not whole."""
    folder = StagedFolder.of(bucket, repo, commit)
    stored = model_manifest.read(folder)
    gone = model_manifest.missing(stored.manifest, folder) if stored else []
    if stored is None or gone:
        raise StagingFailed(
            f"{folder.uri} is not whole: it cannot be promoted",
            evidence=[f"missing: {path}" for path in gone[:10]] or ["it has no manifest"],
            next_command="deploy it again in the environment it comes from: what is missing is staged anew",
        )
    sizes = {file.path: file.size for file in stored.manifest.files}

    def read(path: str, offset: int, count: int) -> bytes:
        count = max(0, min(count, sizes[path] - offset))
        return bucket.stream(folder.key(path), offset, count) if count else b""

    files = tuple(HubFile(path=f.path, size=f.size, sha256=f.sha256) for f in stored.manifest.files)
    model = HubModel(repo=repo, commit=commit, gated=False, files=files)
    return inspect(model, read), model_manifest.staged_model(folder, stored, reused=True)
