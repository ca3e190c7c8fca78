from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.config import read_config
from tasks.preflight.engine_models import models_of
from tasks.preflight.repository import judge_repo, judge_tokenizer
from tasks.preflight.rows import Row
from tasks.records.results import HubFile, HubInspection, HubModel
from tasks.records.weights import weight_files

GIB = 2**30


def inspected(files: dict[str, int], **more: Any) -> HubInspection:
    weights = weight_files(files)
    return HubInspection.model_validate(
        {
            "model": HubModel(
                repo="acme/model", commit="0" * 40, gated=False,
                files=tuple(HubFile(path=path, size=size) for path, size in files.items()),
            ),
            "config": {}, "tensor_bytes": {}, "weights": weights.read, "missing": weights.missing, **more,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inspection", "said"),
    [
        (inspected({"adapter_config.json": 700, "adapter_model.safetensors": GIB}), "is a LoRA adapter"),
        (
            inspected(
                {"adapter_config.json": 700, "adapter_model.safetensors": GIB},
                documents={"adapter_config.json": {"base_model_name_or_path": "meta-llama/Llama-3.1-8B"}},
            ),
            "a LoRA adapter of meta-llama/Llama-3.1-8B",
        ),
        (inspected({"q4.gguf": GIB, "q8.gguf": GIB}), "2 GGUF files (q4.gguf, q8.gguf) only"),
        (inspected({"model-00002-of-00003.safetensors": GIB}), "2 of its weight files are not there"),
        (inspected({"model.safetensors": 134}), "model.safetensors has 134 bytes"),
        (
            inspected({"model.safetensors": GIB}, unreadable={"model.safetensors": "it is a web page"}),
            "a web page",
        ),
        (inspected({"pytorch_model.bin": GIB}), "in pickles only (pytorch_model.bin)"),
        (inspected({"README.md": 9}), "no weights"),
    ],
)
def test_a_repo_that_is_not_a_whole_model_is_refused(inspection: HubInspection, said: str) -> None:
    row = judge_repo(inspection)
    assert row.status == "fail"
    assert said in row.detail
    assert row.next_command


def test_an_adapter_beside_a_whole_model_does_no_harm() -> None:
    files = {"adapter_config.json": 700, "adapter_model.safetensors": GIB, "model.safetensors": GIB}
    assert judge_repo(inspected(files)).status == "ok"


def tokenizer(
    files: dict[str, int],
    endpoint: str = "chat",
    *,
    given: bool = False,
    model_type: str = "llama",
    documents: Any = None,
) -> Row:
    config = read_config({"model_type": model_type})
    inspection = inspected(files, documents=documents or {})
    return judge_tokenizer(inspection, config, models_of("0.32.0"), endpoint=endpoint, template_given=given)


TEMPLATE = {"tokenizer_config.json": {"chat_template": "x"}}


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (tokenizer({"model.safetensors": GIB}), "fail"),
        (tokenizer({"tokenizer.json": 9}, documents=TEMPLATE), "ok"),
        (tokenizer({"tokenizer.json": 9}), "fail"),
        (tokenizer({"tokenizer.json": 9}, "completions"), "ok"),
        (tokenizer({"tokenizer.json": 9}, given=True), "ok"),
        (tokenizer({"tokenizer.json": 9, "chat_template.jinja": 9}), "ok"),
        (tokenizer({"tekken.json": 9}), "ok"),
        (tokenizer({"qwen.tiktoken": 9}, "completions"), "ok"),
        (tokenizer({"vocab.json": 9, "merges.txt": 9}, "completions"), "ok"),
        (tokenizer({"tokenizer.json": 9}, model_type="paligemma"), "ok"),  # vLLM has a template for it
    ],
)
def test_a_tokenizer_and_a_template_where_chat_is_asked(row: Row, status: str) -> None:
    assert row.status == status, row
    assert row.next_command or status == "ok"
