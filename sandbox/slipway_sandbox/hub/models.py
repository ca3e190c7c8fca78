"""The small models the hub offers, made on first start in a folder and kept there.

A revision is a folder; what two revisions share is one file with two names. Nothing random, no date and no
library's version of the weights format goes in, so a commit has the same id on every machine.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slipway_sandbox.hub import tokenizer, weights

RECIPE = 3  # raise it when what is made below changes: a folder made by an older recipe is not used again

GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.bin", "*.gguf", "*.h5", "*.onnx", "*.pt", "*.pth", "*.safetensors")
)
TINY_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 384,
    "initializer_range": 0.02,
    "intermediate_size": 896,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 6,
    "num_hidden_layers": 8,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0",
    "use_cache": True,
    "vocab_size": tokenizer.VOCABULARY,
}
_TINY_SHARD_LIMIT = 12_500_000
_GENERATION = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# {name}

Random weights in the form of a Llama: it answers, but says nothing. {note}
"""


def make_all(cache: Path, more: Mapping[str, Callable[[Path], None]]) -> Path:
    """Make every model below `cache` unless that is done; the folder that holds them by name and revision.

    Layout: `<repo name>/<revision>/<files>`; `more` makes further repositories in the folders it is given.
    Two processes may do this at once: the first to finish wins.
    """
    made = cache / f"recipe-{RECIPE}"
    if made.is_dir():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
    try:
        _tiny_llama(work / "tiny-llama")
        _gated(work / "tiny-llama", work / "tiny-llama-gated")
        _pickled(work / "pickle-llama")
        _base(work / "tiny-llama", work / "tiny-base")
        _wide(work / "tiny-wide")
        _adapter(work / "tiny-adapter")
        for name, make in more.items():
            make(work / name)
        try:
            work.rename(made)
        except OSError:
            if not made.is_dir():
                raise
    finally:
        if work.exists():
            shutil.rmtree(work)
    return made


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_plain_files(folder: Path, config: dict[str, Any], name: str, note: str) -> None:
    """Everything of a Llama repository but its weights."""
    folder.mkdir(parents=True)
    (folder / ".gitattributes").write_text(GITATTRIBUTES)
    (folder / "README.md").write_text(_CARD.format(name=name, note=note))
    (folder / "tokenizer.json").write_text(tokenizer.make(), encoding="utf-8")
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", _GENERATION)
    write_json(folder / "tokenizer_config.json", tokenizer.config(config["max_position_embeddings"]))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write_json(folder / "special_tokens_map.json", tokens)


def _tiny_llama(repo: Path) -> None:
    """v1, and main, whose second shard was trained further and whose sampling defaults were added."""
    parts = weights.shards(weights.llama_tensors(TINY_CONFIG), _TINY_SHARD_LIMIT)
    names = weights.shard_names(len(parts))
    first = repo / "v1"
    write_plain_files(first, TINY_CONFIG, "tiny-llama", "This is version 1.")
    (first / "model.safetensors.index.json").write_text(weights.index(parts, names))
    for name, part in zip(names, parts, strict=True):
        with (first / name).open("wb") as file:
            weights.write(file, part, "tiny-llama/v1")
    second = repo / "main"
    _linked_copy(first, second)
    _replace(second / "README.md", _CARD.format(name="tiny-llama", note="This is version 2.").encode())
    sampling = _GENERATION | {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
    _replace(second / "generation_config.json", (json.dumps(sampling, indent=2) + "\n").encode())
    (second / names[-1]).unlink()
    with (second / names[-1]).open("wb") as file:
        weights.write(file, parts[-1], "tiny-llama/v2")


def _gated(original: Path, repo: Path) -> None:
    for revision in ("v1", "main"):
        _linked_copy(original / revision, repo / revision)
        note = "Its licence must be accepted."
        card = _CARD.format(name="tiny-llama-gated", note=note).replace("apache-2.0", "llama3.1")
        _replace(repo / revision / "README.md", card.encode())


def _base(original: Path, repo: Path) -> None:
    """A model that was not taught to chat: it has no chat template."""
    _linked_copy(original / "main", repo / "main")
    about = tokenizer.config(TINY_CONFIG["max_position_embeddings"])
    del about["chat_template"]
    (repo / "main" / "tokenizer_config.json").unlink()
    write_json(repo / "main" / "tokenizer_config.json", about)
    card = _CARD.format(name="tiny-base", note="It has no chat template.")
    _replace(repo / "main" / "README.md", card.encode())


def _wide(repo: Path) -> None:
    """A Llama that can be split over eight GPUs, which tiny-llama's six heads cannot."""
    heads = {
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "hidden_size": 512,
        "intermediate_size": 1024,
    }
    config = TINY_CONFIG | heads | {"num_hidden_layers": 2}
    folder = repo / "main"
    write_plain_files(folder, config, "tiny-wide", "It has eight heads.")
    with (folder / "model.safetensors").open("wb") as file:
        weights.write(file, list(weights.llama_tensors(config)), "tiny-wide")


def _adapter(repo: Path) -> None:
    """A LoRA adapter of tiny-llama, as PEFT saves it: v1, and main, which was trained further."""
    rank, hidden, heads = 8, TINY_CONFIG["hidden_size"], TINY_CONFIG["num_attention_heads"]
    outputs = {"q_proj": heads * TINY_CONFIG["head_dim"], "v_proj": TINY_CONFIG["num_key_value_heads"] * 64}
    tensors = [
        weights.Tensor(f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{side}.weight", shape)
        for layer in range(TINY_CONFIG["num_hidden_layers"])
        for module, size in outputs.items()
        for side, shape in (("A", (rank, hidden)), ("B", (size, rank)))
    ]
    config = {
        "base_model_name_or_path": "slipway/tiny-llama",
        "bias": "none",
        "lora_alpha": 16,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted(outputs),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
    }
    for revision in ("v1", "main"):
        folder = repo / revision
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text(GITATTRIBUTES)
        (folder / "README.md").write_text(
            _CARD.format(name="tiny-adapter", note=f"A LoRA adapter, {revision}.")
        )
        write_json(folder / "adapter_config.json", config)
        with (folder / "adapter_model.safetensors").open("wb") as file:
            weights.write(file, tensors, f"tiny-adapter/{revision}")


def _pickled(repo: Path) -> None:
    """Both forms of the same weights: a downloader must take one, and it must not be the pickle."""
    config = TINY_CONFIG | {"num_hidden_layers": 1, "tie_word_embeddings": True}
    folder = repo / "main"
    write_plain_files(folder, config, "pickle-llama", "The weights are here twice, once as a pickle.")
    tensors = list(weights.llama_tensors(config))
    with (folder / "model.safetensors").open("wb") as file:
        weights.write(file, tensors, "pickle-llama")
    _write_pickle(folder / "pytorch_model.bin", tensors)


def _write_pickle(path: Path, tensors: list[weights.Tensor]) -> None:
    """A zip with data.pkl and a file a tensor, as torch.save lays it out; the pickle names shapes, not storages."""
    table = OrderedDict((t.name, ("bfloat16", t.shape, str(n))) for n, t in enumerate(tensors))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo made by hand is dated 1980: no clock enters the bytes.
        archive.writestr(zipfile.ZipInfo("pytorch_model/data.pkl"), pickle.dumps(table, protocol=2))
        for number, tensor in enumerate(tensors):
            content = weights.values(tensor, "pickle-llama")
            archive.writestr(zipfile.ZipInfo(f"pytorch_model/data/{number}"), content)
        archive.writestr(zipfile.ZipInfo("pytorch_model/version"), b"3\n")


def _linked_copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        os.link(path, target / path.name)


def _replace(path: Path, content: bytes) -> None:
    path.unlink()  # it may be a second name of another revision's file
    path.write_bytes(content)
