"""Which variables a model's file may set."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.records.variables import SET_BY_SLIPWAY
from tasks.rollout.manifests import serving
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, WEIGHTS, a_cache, a_model, an_environment


def env(**given: Any) -> dict[str, str]:
    return a_model(engine={"env": given}).engine.env


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("VLLM_LOGGING_LEVEL", "DEBUG", "DEBUG"),
        ("VLLM_ENGINE_READY_TIMEOUT_S", 900, "900"),
        # words that only begin like a secret's
        ("TOKENIZERS_PARALLELISM", "false", "false"),
        ("VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE", 1, "1"),
        ("NCCL_P2P_DISABLE", "1", "1"),
    ],
)
def test_what_may_be_set(name: str, value: Any, read: str) -> None:
    assert env(**{name: value}) == {name: read}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HF_TOKEN", "hf_x", "looks like a secret"),
        ("AWS_ACCESS_KEY_ID", "AKIA", "looks like a secret"),
        ("S3_SECRET_ACCESS_KEY", "x", "looks like a secret"),
        ("db_password", "x", "looks like a secret"),
        ("MYAPIKEY", "x", "looks like a secret"),
        ("VLLM_API_KEY", "x", "set by Slipway"),
        ("HF_HUB_OFFLINE", "0", "set by Slipway"),
        ("CUDA_VISIBLE_DEVICES", "0", "set for each pod"),
        ("1ST", "x", "no name of a variable"),
        ("A B", "x", "no name of a variable"),
        ("FLAG", True, "text or a number"),
        ("FLAG", None, "text or a number"),
        ("LINES", "a\nb", "one line"),
    ],
)
def test_what_may_not_be_set_is_refused_by_name(name: str, value: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        env(**{name: value})
    assert name in str(refused.value)


def test_a_secret_that_was_written_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        env(HF_TOKEN="hf_verysecret")
    assert "hf_verysecret" not in "".join(error["msg"] for error in refused.value.errors())


def test_what_slipway_sets_is_what_the_manifests_have() -> None:
    model = a_model(engine={"image": f"vllm/vllm-openai:v0.32.0@sha256:{'a' * 64}"})
    names = set()
    for weights in (Weights.of(a_cache(), WEIGHTS), Weights("c", "", "", WEIGHTS, address="s3://b/p")):
        for document in serving(ROOT, model, an_environment(), weights):
            if document["kind"] == "Deployment":
                [container] = document["spec"]["template"]["spec"]["containers"]
                names |= {one["name"] for one in container["env"]}
    assert names == set(SET_BY_SLIPWAY)
