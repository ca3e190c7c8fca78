"""A model no sandbox GPU holds: true sizes and headers of a 70-billion-parameter Llama, zeros for weights.

The zeros are made as they are asked for. Their sha256 is true as well, and since reading 141 GB for it takes
minutes it was computed once, into huge_llama.json; a test computes one of them again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slipway_sandbox.hub import models, weights
from slipway_sandbox.hub.blobs import Blob, Source, ZeroSource, large_blob

# Llama 3.1 70B's published config.json; a shard of at most 5 GB, as transformers saves.
CONFIG: dict[str, Any] = models.TINY_CONFIG | {
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "head_dim": 128,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "pad_token_id": None,
    "vocab_size": 128256,
}
SHARD_LIMIT = 5_000_000_000
_TABLE = Path(__file__).with_name("huge_llama.json")


def weight_files() -> tuple[dict[str, Source], str]:
    """The shards by name, and the text of their index."""
    parts = weights.shards(weights.llama_tensors(CONFIG), SHARD_LIMIT)
    names = weights.shard_names(len(parts))
    files: dict[str, Source] = {}
    for name, part in zip(names, parts, strict=True):
        head = weights.header(part)
        files[name] = ZeroSource(head, len(head) + sum(tensor.nbytes for tensor in part))
    return files, weights.index(parts, names)


def write_plain_files(repo: Path) -> None:
    """What of the repository is kept on disk: everything but the shards."""
    models.write_plain_files(repo / "main", CONFIG, "huge-llama", "All weights are zero.")
    (repo / "main" / "model.safetensors.index.json").write_text(weight_files()[1])


def weight_blobs() -> dict[str, Blob]:
    """The shards as LFS objects. Raises KeyError when the table lacks one of them."""
    known: dict[str, str] = json.loads(_TABLE.read_text())
    return {name: large_blob(source, known[name]) for name, source in weight_files()[0].items()}
