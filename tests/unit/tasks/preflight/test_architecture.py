from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.architecture import judge_architecture
from tasks.preflight.config import read_config
from tasks.preflight.engine_models import models_of
from tasks.preflight.flags import versions
from tasks.preflight.rows import Row
from tasks.records.questions import Task

ONE = {"id2label": {"0": "LABEL_0"}}
TWO_WORDS = {"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True}
CODE = {"AutoConfig": "configuration_new.NewConfig", "AutoModelForCausalLM": "modeling_new.NewForCausalLM"}


def judged(architecture: str, model_type: str = "llama", *, task: Task = "generate", **more: Any) -> Row:
    config = {"architectures": [architecture], "model_type": model_type} | more.pop("config", {})
    given: dict[str, Any] = {"trust_remote_code": False, "pooling": False, "files": ()} | more
    return judge_architecture(read_config(config), models_of("0.32.0"), "unchecked", task=task, **given)


@pytest.mark.parametrize(
    ("row", "status", "said"),
    [
        (judged("LlamaForCausalLM"), "ok", "LlamaForCausalLM generates text in vLLM 0.32.0"),
        (judged("FooForCausalLM"), "fail", "does not know the architecture FooForCausalLM"),
        (judged("LlamaForCausalML"), "fail", "the nearest it has is LlamaForCausalLM"),
        (judged("BertModel", "bert"), "fail", "a pooling model: vLLM 0.32.0 gives it no /v1/completions and no /v1/chat"),
        (judged("BertModel", "bert", task="embed", pooling=True), "ok", "BertModel embeds in vLLM 0.32.0"),
        (judged("XLMRobertaModel", "xlm-roberta", task="embed", pooling=True), "ok", "embeds"),
        # a model that generates is adapted: Qwen3-Embedding
        (judged("Qwen3ForCausalLM", "qwen3", task="embed", pooling=True), "ok", "embeds"),
        (judged("XLMRobertaForSequenceClassification", "xlm-roberta", task="score", pooling=True, config=ONE), "ok", "scores"),
        (judged("Qwen3ForSequenceClassification", "qwen3", task="score", pooling=True, config={"num_labels": 1}), "ok", "scores"),
        (judged("Qwen3ForSequenceClassification", "qwen3", task="score", pooling=True, config=TWO_WORDS), "ok", "scores"),
        (judged("XLMRobertaModel", "xlm-roberta", task="score", pooling=True), "ok", "scores"),
        (judged("XLMRobertaForSequenceClassification", "xlm-roberta", task="embed", pooling=True, config=ONE), "fail", "gives it no /v1/embeddings"),
        (judged("BertForSequenceClassification", "bert", task="score", pooling=True), "fail", "classifies 2 labels"),
        (judged("BertForTokenClassification", "bert", task="score", pooling=True, config=ONE), "fail", "classifies each token"),
        (judged("Qwen3ForCausalLM", "qwen3", pooling=True), "fail", "a pooling model"),
        (judged("LlamaForSequenceClassification"), "fail", "a pooling model"),
        (judged("BaichuanForCausalLM"), "fail", "0.23.0 was the last version that had it"),
        (judged("BartForConditionalGeneration", "bart"), "fail", "it comes as a plugin"),
        (judged("EAGLEModel"), "fail", "does not know"),
        (judged("MedusaModel"), "fail", "a draft model"),
        (judged("CodeGenForCausalLM", "codegen"), "warn", "runs the one of transformers"),
        (judged("NewForCausalLM", "new-type"), "fail", "model_type new-type: neither transformers nor vLLM knows it"),
        (judged("NewForCausalLM", "new-type", config={"auto_map": CODE}), "fail", "needs the repo's own code"),
        (
            judged("NewForCausalLM", "new-type", config={"auto_map": CODE}, trust_remote_code=True),
            "warn",
            "runs the one of transformers",
        ),
        (
            judged("NewForCausalLM", "new-type", config={"auto_map": CODE}, trust_remote_code=True, files=("modeling_new.py",)),
            "fail",
            "configuration_new.py, which is not among the files",
        ),
        (
            judged("NewForCausalLM", "new-type", config={"auto_map": {"AutoConfig": "other/impl--configuration.X"}}),
            "fail",
            "its code is in another repo",
        ),
        (judged("DeepseekV2ForCausalLM", "deepseek_v2", config={"auto_map": CODE}), "ok", "generates text"),
    ],
)  # fmt: skip
def test_what_vllm_can_serve(row: Row, status: str, said: str) -> None:
    assert (row.status, said in row.detail) == (status, True), row
    assert row.next_command or status != "fail"


def test_an_image_nothing_is_known_of_is_not_checked() -> None:
    row = judge_architecture(
        read_config({"architectures": ["Foo"]}), None, "not checked", trust_remote_code=False, pooling=False,
        task="generate", files=(),
    )  # fmt: skip
    assert row.status == "warn"


def test_every_version_with_flags_has_a_table_of_models() -> None:
    for version in versions():
        models = models_of(version)
        assert models, version
        assert "LlamaForCausalLM" in models.generate
        assert "hermes" in models.tool_parsers
        assert "deepseek_r1" in models.reasoning_parsers
        assert "BertModel" in models.pooling
