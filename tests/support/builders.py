"""Records the tests of the stages start from; each test says only what matters to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import HubFile, HubInspection, HubModel, Infrastructure, WarmCache

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = 16 * 2**30

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, nested dictionaries key by key."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def a_model(**over: Any) -> Model:
    base = {
        "name": "llama",
        "source": {"repo": "meta-llama/Llama-3.1-8B-Instruct"},
        "load": {"rate": 4.0, "warmup": "5s", "window": "60s"},
    }
    return Model.model_validate(merged(base, over))


def an_environment(**over: Any) -> Environment:
    base = {
        "name": "staging",
        "region": "us-east-1",
        "cluster": {"name": "slipway-staging", "gpu": {"provisioner": "node-group"}},
        "storage": {"model_bucket": "acme-models", "state_bucket": "acme-states"},
    }
    return Environment.model_validate(merged(base, over))


def a_cache(**over: Any) -> WarmCache:
    base = {
        "namespace": "llm",
        "claim": "model-cache-llama",
        "path": f"meta-llama--Llama-3.1-8B-Instruct/{COMMIT}",
        "volume_id": "vol-1",
        "zone": "us-east-1a",
        "commit": COMMIT,
        "bytes_copied": WEIGHTS,
    }
    return WarmCache.model_validate(base | over)


def an_inspection(
    config: dict[str, Any] | None = None, weight_bytes: int = WEIGHTS, weights: str = "model.safetensors"
) -> HubInspection:
    files = [HubFile(path="config.json", size=700), HubFile(path="tokenizer.json", size=9_000_000)]
    files += [HubFile(path=weights, size=weight_bytes)] if weight_bytes else []
    return HubInspection(
        model=HubModel(
            repo="meta-llama/Llama-3.1-8B-Instruct", commit=COMMIT, gated=True, files=tuple(files)
        ),
        config=LLAMA if config is None else config,
        tensor_bytes={"BF16": weight_bytes} if weight_bytes and weights.endswith(".safetensors") else {},
        weights=(weights,) if weight_bytes else (),
        documents={"tokenizer_config.json": {"chat_template": "{{ messages }}"}},
    )


INFRASTRUCTURE = Infrastructure(
    cluster_name="c",
    endpoint="https://127.0.0.1:1",
    certificate_authority="",
    region="us-east-1",
    gpu_node_group="gpu",
)
