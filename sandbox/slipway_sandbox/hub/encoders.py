"""Two small encoders in the form of an XLM-RoBERTa: one that embeds, one that scores pairs. Random weights.

Names and shapes: those XLMRobertaModel and XLMRobertaForSequenceClassification of transformers save. Files beside them: those of
intfloat/multilingual-e5-large (sentence-transformers' layout).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slipway_sandbox.hub import models, tokenizer, weights

CONFIG: dict[str, Any] = {
    "architectures": ["XLMRobertaModel"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 515,
    "model_type": "xlm-roberta",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "pad_token_id": 2,
    "position_embedding_type": "absolute",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.0",
    "type_vocab_size": 1,
    "use_cache": True,
    "vocab_size": tokenizer.VOCABULARY,
}
LENGTH = 512  # max_position_embeddings less what stands before the first position: pad_token_id + 1
_CARD = "---\nlicense: apache-2.0\npipeline_tag: {task}\n---\n# {name}\n\nRandom weights in the form of an XLM-RoBERTa.\n"


def tensors(config: dict[str, Any]) -> Iterator[weights.Tensor]:
    """Every tensor of the encoder; with a classifier's head where the architecture has one."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    classifies = config["architectures"][0].endswith("ForSequenceClassification")
    root = "roberta." if classifies else ""
    for name, rows in (
        ("word", config["vocab_size"]),
        ("position", config["max_position_embeddings"]),
        ("token_type", config["type_vocab_size"]),
    ):
        yield weights.Tensor(f"{root}embeddings.{name}_embeddings.weight", (rows, hidden))
    yield from _linear(f"{root}embeddings.LayerNorm", (hidden,))
    for layer in range(config["num_hidden_layers"]):
        part = f"{root}encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            yield from _linear(f"{part}.attention.self.{name}", (hidden, hidden))
        yield from _linear(f"{part}.attention.output.dense", (hidden, hidden))
        yield from _linear(f"{part}.attention.output.LayerNorm", (hidden,))
        yield from _linear(f"{part}.intermediate.dense", (inner, hidden))
        yield from _linear(f"{part}.output.dense", (hidden, inner))
        yield from _linear(f"{part}.output.LayerNorm", (hidden,))
    if classifies:
        yield from _linear("classifier.dense", (hidden, hidden))
        yield from _linear("classifier.out_proj", (1, hidden))


def _linear(name: str, shape: tuple[int, ...]) -> Iterator[weights.Tensor]:
    yield weights.Tensor(f"{name}.weight", shape)
    yield weights.Tensor(f"{name}.bias", shape[:1])


def write_embedding(repo: Path) -> None:
    """tiny-embedding, with sentence-transformers' files."""
    folder = _written(repo / "main", CONFIG, "tiny-embedding", "sentence-similarity")
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    models.write_json(folder / "modules.json", modules)
    models.write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": LENGTH, "do_lower_case": False}
    )
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": CONFIG["hidden_size"], "pooling_mode_mean_tokens": True}
    models.write_json(folder / "1_Pooling" / "config.json", pooling)


def write_reranker(repo: Path) -> None:
    """tiny-reranker: one label, which is what vLLM scores by."""
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    config = CONFIG | {"architectures": ["XLMRobertaForSequenceClassification"]} | labels
    _written(repo / "main", config, "tiny-reranker", "text-classification")


def _written(folder: Path, config: dict[str, Any], name: str, task: str) -> Path:
    folder.mkdir(parents=True)
    (folder / ".gitattributes").write_text(models.GITATTRIBUTES)
    (folder / "README.md").write_text(_CARD.format(task=task, name=name))
    (folder / "tokenizer.json").write_text(tokenizer.make(), encoding="utf-8")
    models.write_json(folder / "config.json", config)
    about = tokenizer.config(LENGTH)
    del about["chat_template"]
    models.write_json(folder / "tokenizer_config.json", about)
    with (folder / "model.safetensors").open("wb") as file:
        weights.write(file, list(tensors(config)), name)
    return folder
