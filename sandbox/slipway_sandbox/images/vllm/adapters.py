"""Load the LoRA adapters of `--lora-modules`, with vLLM's checks and words.

Source: vllm 0.32.0, lora/peft_helper.py (`validate_legal`), lora/lora_model.py (`check_unexpected_modules`), exceptions.py
(`LoRAAdapterNotFoundError`), entrypoints/openai/models/serving.py (`init_static_loras`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from slipway_sandbox.images.vllm import logs

DEFAULT_RANK, DEFAULT_SLOTS = 16, 1


@dataclass(frozen=True)
class Adapter:
    """A loaded adapter. `seed`: what its weights add to a request's, so that it answers otherwise than its base."""

    name: str
    path: str
    seed: int


def load_adapters(args: argparse.Namespace, folder: Path) -> tuple[Adapter, ...]:
    """The adapters of the command line, for the model in `folder`. Raises ValueError, with which the API server ends."""
    if not args.lora_modules:
        return ()
    if not args.enable_lora:
        raise ValueError("LoRA is not enabled. Use --enable-lora to enable LoRA.")
    base = {module for file in folder.glob("*.safetensors") for module in _modules(file)}
    return tuple(_loaded(word, args, base) for word in args.lora_modules)


def _loaded(word: str, args: argparse.Namespace, base: set[str]) -> Adapter:
    name, _, path = word.partition("=")
    folder = Path(path)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if not (weights.is_file() and config.is_file()):
        raise ValueError(f"Loading lora {name} failed: No adapter found for {path}")
    rank, most = json.loads(config.read_text("utf-8"))["r"], int(args.max_lora_rank or DEFAULT_RANK)
    if rank > most:
        raise ValueError(f"LoRA rank {rank} is greater than max_lora_rank {most}.")
    if unexpected := sorted(set(_modules(weights)) - base):
        raise ValueError(
            f"While loading {path}, expected target modules in {base} but received {unexpected}. Please verify that the "
            "loaded LoRA module is correct"
        )
    logs.info("serving.py:194", f"Loaded new LoRA adapter: name '{name}', path '{path}'")
    return Adapter(name, path, int(hashlib.sha256(weights.read_bytes()).hexdigest()[:6], 16))


def _modules(file: Path) -> Iterator[str]:
    """Last names of the modules whose tensors a file has."""
    with safe_open(file, framework="np") as tensors:
        for key in tensors.keys():  # noqa: SIM118  (a safe_open is not a mapping)
            parts = key.split(".")
            at = next((n for n, part in enumerate(parts) if part.startswith("lora_")), len(parts) - 1)
            yield parts[at - 1]
