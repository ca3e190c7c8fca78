"""Which files of a repo vLLM reads its weights from, and which are second copies. Pure.

Follows `_prepare_weights` of DefaultModelLoader and `filter_duplicate_safetensors_files` in vLLM 0.32.0
(vllm/model_executor/model_loader/default_loader.py, weight_utils.py): files of the root only; safetensors before pickles; where an
index is there, the files it names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

INDEX = "model.safetensors.index.json"
CONSOLIDATED_INDEX = "consolidated.safetensors.index.json"
PICKLE_INDEX = "pytorch_model.bin.index.json"
INDEXES = (INDEX, CONSOLIDATED_INDEX, PICKLE_INDEX)
# Folders in which repos keep the same weights in another layout: Meta's, Apple's, and for other runtimes.
COPIES = ("original/", "metal/", "onnx/", "openvino/", "coreml/", "gguf/", "tensorrt/")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
NOT_WEIGHTS = (
    "training_args.bin",
    "optimizer.bin",
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "adapter_model.safetensors",
)
NUMBERED = re.compile(r"(?P<stem>.+)-(?P<part>\d+)-of-(?P<of>\d+)(?P<end>\.\w+)$")


@dataclass(frozen=True)
class WeightFiles:
    """`read`: what vLLM loads; `copies`: weights it does not read; `missing`: named by the index or by the numbering of the
    others, and not in the repo."""

    read: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def weight_files(paths: Iterable[str], indexes: Mapping[str, Collection[str]] | None = None) -> WeightFiles:
    """The weight files among a repo's paths. `indexes`: index file -> the files it names, for those that were read."""
    listed = sorted(paths)
    root = [path for path in listed if "/" not in path and not path.endswith(NOT_WEIGHTS)]
    safetensors = [path for path in root if path.endswith(".safetensors")]
    consolidated = [path for path in safetensors if path.startswith("consolidated")]
    plain = [path for path in safetensors if path not in consolidated]
    if plain and (consolidated and "config.json" not in listed):
        plain, index = [], CONSOLIDATED_INDEX
    else:
        index = INDEX if plain else CONSOLIDATED_INDEX
    chosen = plain or consolidated
    if not chosen:
        chosen = next(
            (found for end in (".bin", ".pt", ".pth") if (found := [p for p in root if p.endswith(end)])), []
        )
        index = PICKLE_INDEX
    named = set((indexes or {}).get(index) or ())
    read = [path for path in chosen if path in named] if named else chosen
    missing = sorted(named - set(listed)) if named else _gaps(read)
    others = [path for path in listed if path.endswith(WEIGHTS) and not path.endswith(NOT_WEIGHTS)]
    copies = [
        path for path in others if path not in read and (path in chosen or _is_copy(path, consolidated))
    ]
    return WeightFiles(tuple(read), tuple(copies) if read else (), tuple(missing))


def _is_copy(path: str, consolidated: Collection[str]) -> bool:
    return path.startswith(COPIES) or path in consolidated


def _gaps(paths: Iterable[str]) -> list[str]:
    """Files that the numbering of the others asks for: model-00001-of-00002.safetensors alone."""
    present = set(paths)
    wanted = set()
    for path in present:
        if found := NUMBERED.match(path):
            digits, count = len(found["part"]), found["of"]
            wanted |= {
                f"{found['stem']}-{number:0{digits}}-of-{count}{found['end']}"
                for number in range(1, int(count) + 1)
            }
    return sorted(wanted - present)
