from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.architecture import judge_architecture
from tasks.preflight.config import read_config
from tasks.preflight.engine_models import models_of
from tasks.preflight.flags import versions
from tasks.preflight.rows import Row

CODE = {"AutoConfig": "configuration_new.NewConfig", "AutoModelForCausalLM": "modeling_new.NewForCausalLM"}


def judged(architecture: str, model_type: str = "llama", *, endpoint: str = "chat", **more: Any) -> Row:
    config = {"architectures": [architecture], "model_type": model_type} | more.pop("config", {})
    given: dict[str, Any] = {"trust_remote_code": False, "pooling": False, "files": ()} | more
    return judge_architecture(
        read_config(config), models_of("0.32.0"), "unchecked", endpoint=endpoint, **given
    )


@pytest.mark.parametrize(
    ("row", "status", "said"),
    [
        (judged("LlamaForCausalLM"), "ok", "LlamaForCausalLM generates text in vLLM 0.32.0"),
        (judged("FooForCausalLM"), "fail", "does not know the architecture FooForCausalLM"),
        (judged("LlamaForCausalML"), "fail", "the nearest it has is LlamaForCausalLM"),
        (judged("BertModel", "bert"), "fail", "a pooling model: vLLM 0.32.0 gives it no /v1/chat/completions"),
        (judged("BertModel", "bert", endpoint="completions"), "fail", "no /v1/completions"),
        (judged("BertModel", "bert", endpoint="embeddings"), "ok", "pools"),
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
        endpoint="chat", files=(),
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
