"""The tensors of a Llama model and the safetensors files that hold them.

Format: https://github.com/huggingface/safetensors#format. Names and shapes: those LlamaForCausalLM saves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

_BFLOAT16_BYTES = 2
# The high byte of a bfloat16: keep the sign bit, set the exponent so that |value| is 2^-7 to 2^-5.
_SMALL = bytes((byte & 0x80) | 0x3C for byte in range(256))
_ONE = b"\x80\x3f"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * _BFLOAT16_BYTES


def llama_tensors(config: dict[str, Any]) -> Iterator[Tensor]:
    """Every tensor of the model a Llama config.json describes, in the order transformers writes them."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    yield Tensor("model.embed_tokens.weight", (config["vocab_size"], hidden))
    for layer in range(config["num_hidden_layers"]):
        root = f"model.layers.{layer}"
        yield Tensor(f"{root}.input_layernorm.weight", (hidden,))
        yield Tensor(f"{root}.mlp.down_proj.weight", (hidden, inner))
        yield Tensor(f"{root}.mlp.gate_proj.weight", (inner, hidden))
        yield Tensor(f"{root}.mlp.up_proj.weight", (inner, hidden))
        yield Tensor(f"{root}.post_attention_layernorm.weight", (hidden,))
        yield Tensor(f"{root}.self_attn.k_proj.weight", (keys, hidden))
        yield Tensor(f"{root}.self_attn.o_proj.weight", (hidden, queries))
        yield Tensor(f"{root}.self_attn.q_proj.weight", (queries, hidden))
        yield Tensor(f"{root}.self_attn.v_proj.weight", (keys, hidden))
    yield Tensor("model.norm.weight", (hidden,))
    if not config.get("tie_word_embeddings"):
        yield Tensor("lm_head.weight", (config["vocab_size"], hidden))


def shards(tensors: Iterator[Tensor], limit: int) -> list[list[Tensor]]:
    """Tensors in files of at most `limit` bytes, filled in order."""
    made: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if made[-1] and filled + tensor.nbytes > limit:
            made.append([])
            filled = 0
        made[-1].append(tensor)
        filled += tensor.nbytes
    return made


def shard_names(count: int, stem: str = "model", suffix: str = "safetensors") -> list[str]:
    if count == 1:
        return [f"{stem}.{suffix}"]
    return [f"{stem}-{number:05d}-of-{count:05d}.{suffix}" for number in range(1, count + 1)]


def header(tensors: Sequence[Tensor]) -> bytes:
    """The head of a safetensors file: eight bytes of length, then JSON padded to a multiple of eight."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def index(parts: Sequence[Sequence[Tensor]], names: Sequence[str]) -> str:
    """model.safetensors.index.json of these shards."""
    weight_map = {tensor.name: name for part, name in zip(parts, names, strict=True) for tensor in part}
    total = sum(tensor.nbytes for part in parts for tensor in part)
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(document, indent=2) + "\n"


def values(tensor: Tensor, seed: str) -> bytes:
    """Small bfloat16 weights drawn from SHAKE-128 of the seed and name; norms are ones. No platform differs."""
    if len(tensor.shape) == 1:
        return _ONE * tensor.shape[0]
    drawn = bytearray(hashlib.shake_128(f"{seed}/{tensor.name}".encode()).digest(tensor.nbytes))
    drawn[1::2] = bytes(drawn[1::2]).translate(_SMALL)
    return bytes(drawn)


def write(file: BinaryIO, tensors: Sequence[Tensor], seed: str) -> None:
    """One safetensors file."""
    file.write(header(tensors))
    for tensor in tensors:
        file.write(values(tensor, seed))
