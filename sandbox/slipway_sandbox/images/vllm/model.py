"""Read a model folder as vLLM does: config.json, and every safetensors file against its header and the index.

Errors have the class names and texts of vllm 0.32.0, transformers and safetensors: they end up in pod logs that
people and programs read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

# bytes of one element, by safetensors' names
ELEMENT_BYTES: Final[Mapping[str, float]] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4,
    "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F4": 0.5,
}  # fmt: skip
FLOATS: Final = ("F64", "F32", "F16", "BF16")  # what vLLM casts to the model's dtype; quantised types stay
DTYPE_BYTES: Final[Mapping[str, int]] = {
    "bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1,
}  # fmt: skip


class ValidationError(ValueError):
    """pydantic's error around a ValueError of ModelConfig."""

    __module__ = "pydantic_core._pydantic_core"

    def __init__(self, message: str) -> None:
        super().__init__(f"1 validation error for ModelConfig\n  Value error, {message}")


@dataclass(frozen=True)
class ModelConfig:
    """The fields of config.json that decide memory and limits. Sizes in elements, `max_model_len` in tokens."""

    architecture: str
    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    dtype: str
    max_model_len: int
    eos_token_ids: tuple[int, ...]
    pools: str = ""  # "", "embed" or "classify"
    encoder: bool = False  # keeps no KV cache


# Architectures vLLM runs as pooling models by themselves: `_SUFFIX_TO_DEFAULTS` in vllm/config/model.py, as far as the sandbox
# meets them.
_CLASSIFIES: Final = ("ForSequenceClassification", "ForTokenClassification")
_ENCODERS: Final = ("bert", "roberta", "xlm-roberta")


# Rope types whose max_position_embeddings is the scaled length (`_get_and_verify_max_len`, 0.32.0).
SCALED_ALREADY: Final = (
    "su",
    "longrope",
    "llama3",
    "mrope",
    "yarn",
    "deepseek_yarn",
    "deepseek_llama_scaling",
)
ARCHITECTURES: Final = Path(__file__).with_name("architectures-0.32.0.json")


def pooling_task(architecture: str, runner: str) -> str:
    """What vLLM makes of it: "" for a model that generates, else embed or classify."""
    if architecture.endswith(_CLASSIFIES):
        return "classify"
    return "embed" if runner == "pooling" or architecture.endswith("Model") else ""


@dataclass(frozen=True)
class Weights:
    files: tuple[Path, ...]
    elements: int
    bytes: int  # on the GPU, in the model's dtype, before tensor parallelism


def find_model(
    model: str, revision: str | None, environment: Mapping[str, str], download_dir: str | None
) -> Path:
    """Find the folder of a local path, or of a hub id in the cache. Raises ValidationError if there is none.

    A hub id missing from the cache is downloaded unless HF_HUB_OFFLINE is set, as vLLM does.
    """
    if (folder := Path(model)).is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise _invalid(model)
    home = environment.get("HF_HOME", str(Path("~/.cache/huggingface").expanduser()))
    cache = Path(download_dir or environment.get("HF_HUB_CACHE", f"{home}/hub"))
    if cached := _cached(cache / f"models--{model.replace('/', '--')}", revision or "main"):
        return cached
    if environment.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise _invalid(model) from OSError(
            "We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
            f"cached files.\nCannot find the requested files in the disk cache and outgoing traffic has been "
            f"disabled (HF_HUB_OFFLINE=1): {model} at {cache}"
        )
    from huggingface_hub import snapshot_download  # imported here: it takes seconds
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(model, revision=revision, cache_dir=cache))
    except (HfHubHTTPError, OSError) as refused:
        raise _invalid(model) from refused


def _cached(repository: Path, revision: str) -> Path | None:
    reference = repository / "refs" / revision
    sha = reference.read_text("utf-8").strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / sha
    return snapshot if snapshot.is_dir() else None


def _invalid(model: str) -> ValidationError:
    return ValidationError(
        f"Invalid repository ID or local directory specified: '{model}'.\n"
        "Please verify the following requirements:\n"
        "1. Provide a valid Hugging Face repository ID.\n"
        "2. Specify a local directory that contains a recognized configuration file.\n"
        "   - For Hugging Face models: ensure the presence of a 'config.json'.\n"
        "   - For Mistral models: ensure the presence of a 'params.json'.\n"
    )


def read_config(
    folder: Path,
    name: str,
    *,
    dtype: str,
    max_model_len: int | None,
    allow_longer: bool,
    runner: str = "auto",
) -> ModelConfig:
    """Read config.json and apply vLLM's defaults and limits. Raises ValidationError."""
    path = folder / "config.json"
    if not path.is_file():
        raise _invalid(name)
    try:
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _invalid(name) from OSError(
            f"It looks like the config file at '{path}' is not a valid JSON file: {error}"
        )
    if "model_type" not in document:
        raise ValidationError(
            f"Unrecognized model in {name}. Should have a `model_type` key in its config.json."
        )
    if not document.get("architectures"):
        raise ValidationError("No model architectures are specified")
    check_architectures(document["architectures"])
    text = document | document.get("text_config", {})
    heads = int(text["num_attention_heads"])
    eos = text.get("eos_token_id")
    return ModelConfig(
        architecture=document["architectures"][0],
        layers=int(text["num_hidden_layers"]),
        hidden=int(text["hidden_size"]),
        intermediate=int(text.get("intermediate_size") or 4 * text["hidden_size"]),
        kv_heads=int(text.get("num_key_value_heads") or heads),
        head_dim=int(text.get("head_dim") or text["hidden_size"] // heads),
        vocabulary=int(text["vocab_size"]),
        dtype=_model_dtype(dtype, text.get("dtype") or text.get("torch_dtype")),
        max_model_len=_max_model_len(text, max_model_len, allow_longer, _sentence_length(folder)),
        eos_token_ids=tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,),
        pools=pooling_task(document["architectures"][0], runner),
        encoder=document["model_type"] in _ENCODERS,
    )


def check_architectures(named: Sequence[str]) -> None:
    """Raise as vLLM's registry does for what it does not know."""
    known = json.loads(ARCHITECTURES.read_text("utf-8"))["architectures"]
    if not set(named) & set(known):
        raise ValidationError(
            f"Model architectures {list(named)} are not supported for now. Supported architectures: dict_keys({known})"
        )


def _sentence_length(folder: Path) -> int | None:
    """`max_seq_length` of sentence-transformers, which goes before config.json's."""
    file = folder / "sentence_bert_config.json"
    return json.loads(file.read_text("utf-8")).get("max_seq_length") if file.is_file() else None


def _model_dtype(asked: str, configured: str | None) -> str:
    if asked != "auto":
        return {"half": "float16", "float": "float32"}.get(asked, asked)
    # vLLM serves float32 checkpoints in half precision unless told otherwise
    return configured if configured in ("bfloat16", "float16") else "bfloat16"


def _max_model_len(
    config: Mapping[str, Any], asked: int | None, allow_longer: bool, sentence: int | None = None
) -> int:
    derived = int(config["max_position_embeddings"])
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if "factor" in scaling and kind not in SCALED_ALREADY:
        derived = int(derived * float(scaling["factor"]))
    derived = sentence or derived
    if asked is None or asked == -1:
        return derived
    if asked > derived and not allow_longer:
        raise ValidationError(
            f"User-specified max_model_len ({asked}) is greater than the derived max_model_len "
            f"(max_position_embeddings={derived} or model_max_length={config.get('model_max_length')} in model's "
            "config.json). To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. "
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with extreme caution. If the model uses relative position "
            "encoding (RoPE), positions exceeding derived_max_model_len lead to nan. If the model uses absolute "
            "position encoding, positions exceeding derived_max_model_len will cause a CUDA array out-of-bounds error."
        )
    return asked


def read_weights(folder: Path, name: str, dtype: str) -> Weights:
    """Open every safetensors file the index names, or all files without an index.

    Raises RuntimeError when there are none, FileNotFoundError when the index names others, safetensors.SafetensorError for a truncated or corrupt one, ValueError when
    the index names tensors that no file has.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    wanted: dict[str, str] = {}
    if index.is_file():
        wanted = json.loads(index.read_text("utf-8"))["weight_map"]
    if not files:
        raise RuntimeError(f"Cannot find any model weights with `{name}`")
    if missing_files := {str(folder / file) for file in wanted.values()} - set(map(str, files)):
        raise FileNotFoundError(f"Weight files referenced in index but missing: {missing_files}")
    if wanted:
        files = [file for file in files if file.name in set(wanted.values())]
    found: set[str] = set()
    elements = size = 0.0
    for file in files:
        with safe_open(
            file, framework="np"
        ) as tensors:  # checks header, offsets and file size against each other
            for key in tensors.keys():  # noqa: SIM118  (a safe_open is not a mapping)
                part = tensors.get_slice(key)
                count = prod(part.get_shape())
                kind = part.get_dtype()
                elements += count
                size += count * (DTYPE_BYTES[dtype] if kind in FLOATS else ELEMENT_BYTES.get(kind, 2))
                found.add(key)
    if missing := set(wanted) - found:
        raise ValueError(f"Following weights were not initialized from checkpoint: {missing}")
    return Weights(tuple(files), int(elements), int(size))


def allow_longer(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") == "1"
