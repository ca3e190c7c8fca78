"""Read a pinned repo's config.json, indexes and safetensors headers, from the hub or from a bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.records.errors import StagingFailed
from tasks.records.results import HubFile, HubInspection, HubModel, Manifest, StagedModel
from tasks.records.weights import INDEXES, weight_files
from tasks.staging import model_manifest
from tasks.staging.folder import StagedFolder
from tasks.staging.objects import Bucket

# Small documents of the root that preflight judges, beside config.json. The last are those of sentence-transformers that vLLM
# reads a length from: `get_sentence_transformer_tokenizer_config` in vllm/transformers_utils/config.py of 0.32.0.
DOCUMENTS = (
    "config.json",
    "adapter_config.json",
    "params.json",
    "tokenizer_config.json",
    *(
        f"sentence_{kind}_config.json"
        for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
TOKENIZER_KEYS = ("chat_template", "tokenizer_class", "auto_map", "model_max_length")
ReadBytes = Callable[[str, int, int], bytes]  # path, offset, count: fewer where the file ends before

_HEADER_AT_MOST = 100_000_000  # bytes, safetensors' own limit of a header
_READERS = 8  # headers at a time: a large model has more than a hundred files
_FIRST_READ = 1 << 16  # bytes: most headers come with their length in one request


def inspect(model: HubModel, read: ReadBytes) -> HubInspection:
    """The repo's JSON documents, and the bytes of all tensors by dtype from the headers of the weights vLLM reads.

    A weight file without a readable header is told in `unreadable`: preflight refuses it. Raises HubError.
    """
    paths = [file.path for file in model.files]
    documents = {path: _json(model, path, read) for path in (*DOCUMENTS, *INDEXES) if path in paths}
    indexes = {path: _named_by(documents.pop(path)) for path in INDEXES if path in documents}
    weights = weight_files(paths, indexes)
    sizes: dict[str, int] = {}
    modules: set[str] = set()
    unreadable: dict[str, str] = {}
    headers = [path for path in (weights.read or _adapters(paths)) if path.endswith(".safetensors")]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="header") as pool:
        for path, header in zip(headers, pool.map(lambda path: _header(path, read), headers), strict=True):
            if isinstance(header, str):
                unreadable[path] = header
                continue
            for name, tensor in header.items():
                if name != "__metadata__":
                    modules.add(module_of(name))
                    begin, end = tensor["data_offsets"]
                    sizes[tensor["dtype"]] = sizes.get(tensor["dtype"], 0) + end - begin
    if about := documents.get("tokenizer_config.json"):
        documents["tokenizer_config.json"] = {key: about[key] for key in TOKENIZER_KEYS if key in about}
    return HubInspection(
        model=model,
        config=documents.pop("config.json", {}),
        tensor_bytes=sizes,
        weights=weights.read,
        missing=weights.missing,
        unreadable=unreadable,
        documents=documents,
        modules=tuple(sorted(modules)),
    )


def module_of(tensor: str) -> str:
    """The last name of the module a tensor belongs to, as vLLM reads it of an adapter's (`parse_fine_tuned_lora_name`):
    model.layers.0.self_attn.q_proj.weight and …q_proj.lora_A.weight are q_proj's."""
    parts = tensor.split(".")
    at = next((n for n, part in enumerate(parts) if part.startswith("lora_")), len(parts) - 1)
    return parts[max(at - 1, 0)]


def _adapters(paths: list[str]) -> list[str]:
    return [path for path in paths if path == "adapter_model.safetensors"]


def _json(model: HubModel, path: str, read: ReadBytes) -> dict[str, Any]:
    """A JSON document of the repo's root. Raises StagingFailed where it is none."""
    size = next(file.size for file in model.files if file.path == path)
    try:
        document = json.loads(read(path, 0, size))
    except ValueError as error:
        raise StagingFailed(
            f"{path} of {model.repo} is no JSON: {error}",
            next_command=f"see https://huggingface.co/{model.repo}/blob/{model.commit}/{path}, or take another revision",
        ) from error
    return document if isinstance(document, dict) else {}


def _named_by(index: dict[str, Any]) -> set[str]:
    """The files an index names. Format: huggingface_hub's `weight_map`, tensor -> file."""
    named = index.get("weight_map")
    return set(map(str, named.values())) if isinstance(named, dict) else set()


def _header(path: str, read: ReadBytes) -> dict[str, Any] | str:
    """A safetensors header, or why the file has none."""
    try:
        return read_safetensors_header(path, read)
    except StagingFailed as error:
        return error.cause


def read_safetensors_header(path: str, read: ReadBytes) -> dict[str, Any]:
    """The header of a safetensors file: tensor name to dtype, shape and offsets. One small range is read, or two.

    Format: https://github.com/huggingface/safetensors#format. Raises StagingFailed where it is not one.
    """
    first = read(path, 0, _FIRST_READ)
    if said := _is_something_else(first):
        raise StagingFailed(f"{path} is {said}, not weights")
    length = int.from_bytes(first[:8], "little")
    if not 2 <= length <= _HEADER_AT_MOST:
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


def _is_something_else(first: bytes) -> str:
    """What stands in the place of a weight file: nothing, a git LFS pointer, a web page; "" for what may be one."""
    if len(first) < 8:
        return f"a file of {len(first)} bytes"
    if first.startswith(b"version https://git-lfs"):
        return f"a git LFS pointer of {len(first)} bytes"
    if first.lstrip()[:1] == b"<":
        return "a web page"
    return ""


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


def read_manifest(bucket: Bucket, repo: str, commit: str) -> Manifest:
    """The manifest of what is staged. Raises StagingFailed where there is none."""
    folder = StagedFolder.of(bucket, repo, commit)
    if stored := model_manifest.read(folder):
        return stored.manifest
    raise StagingFailed(
        f"{folder.uri} has no manifest", next_command="deploy it again: what is missing is staged anew"
    )
