"""Logs of real failed starts, each told by its cause: vLLM 0.32.0 on a CPU, and the sandbox's stand-in (`st_`), of November 2026."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.rollout.engine_causes import tell
from tasks.rollout.engine_log import first_failure, was_stopped
from tasks.rollout.explain import PodEvidence, explain
from tests.support.pods import a_crashed_pod

LOGS = Path(__file__).with_name("failed_starts")
# log -> kind, words of the cause, words of the next command
TOLD = {
    "autotool": ("parser-needed", "--enable-auto-tool-choice needs --tool-call-parser", "engine.extra_args"),
    "badchoice": ("flag-value", "--kv-cache-dtype 'FP8'", "--help=all"),
    "badconfig": ("config-json", "not valid JSON", "slipway deploy again"),
    "batched": ("batched-tokens", "max_num_batched_tokens (512) is smaller than max_model_len (2048)", "to 2048"),
    "compcfg": ("flag-refused", "--compilation-config: CompilationConfig.level: Unexpected keyword", "--compilation-config"),
    "garbage": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "hfover": ("config-field", "wrong type: max_position_embeddings", "--hf-overrides"),
    "hubname": ("hub", "tried to reach the hub", "must be a path under /models"),
    "kvsmall": ("kv-cache", "1.0 GiB, is too small for max_model_len 4000000", "2097024"),
    "loadformat": ("load-format", "--load-format nope", "--load-format"),
    "noconfig": ("config-missing", "has no config.json", "slipway deploy again"),
    "misfit": ("tensors-differ", "start (0) + length (1024) exceeds dimension size (896)", "source.revision"),
    "nodir": ("model-folder", "not on the cache volume: /models/nope", "slipway deploy again"),
    "notensor": ("tensors-missing", "tensors are missing", "source.revision"),
    "notok": ("tokenizer", "tokenizer cannot be loaded", "tokenizer.json"),
    "noweights": ("weights-missing", "has no weights", "slipway deploy again"),
    "quant": ("quantization-config", "not quantised by awq", "engine.quantization"),
    "spec": ("draft-model", "draft model of --speculative-config cannot be read: '/nope/draft'", "--speculative-config"),
    "st_badconfig": ("config-json", "not valid JSON", "slipway deploy again"),
    "st_garbage": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "st_noweights": ("weights-missing", "has no weights", "slipway deploy again"),
    "st_trunc": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "st_zero": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "toolong": ("max-model-len", "max_model_len 99999 is more than the model's own context length, 2048", "2048 at most"),
    "toolparser": ("parser-name", "no tool call parser called nope", "one of the names"),
    "tp3": ("heads", "2 attention heads cannot be shared out over 3 GPUs", "divisor of 2"),
    "trunc": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "uni_noshard": ("shard-missing", "model-00002-of-00002.safetensors", "slipway deploy again"),
    "uni_trunc": ("weights-cut", "cannot read the weights", "slipway deploy again"),
    "unkarch": ("architecture", "does not know the model's architecture: ['FooForCausalLM']", "engine.image"),
    "unkflag": ("unknown-flag", "--foo", "--help=all"),
    "unktype": ("model-type", "does not know model_type foo", "engine.image"),
    "vllmport": ("port-variable", "VLLM_PORT is tcp://1.2.3.4:80", "Service"),
    "zero": ("weights-cut", "cannot read the weights", "slipway deploy again"),
}  # fmt: skip
# these came up and were told to stop
STOPPED = ("bin", "st_automap", "st_badshape", "st_noshard", "st_notensor", "st_unkarch")
# the worker that failed is told, not the engine core or API server that point to it
OF_A_WORKER = ("garbage", "loadformat", "misfit", "notensor", "noweights", "trunc", "uni_noshard", "uni_trunc", "vllmport", "zero")  # fmt: skip


def lines_of(name: str) -> tuple[str, ...]:
    return tuple((LOGS / f"{name}.log").read_text("utf-8").splitlines())


def test_every_log_is_judged_here() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == {*TOLD, *STOPPED}


@pytest.mark.parametrize("name", sorted(TOLD))
def test_the_cause_of_a_failed_start_is_told(name: str) -> None:
    kind, cause, command = TOLD[name]
    failure = first_failure(lines_of(name))
    assert failure is not None
    assert tell(failure).kind == kind
    found = explain(PodEvidence(a_crashed_pod(), log=lines_of(name)))
    assert found is not None
    assert cause in found.cause
    assert command in found.next_command
    assert found.final
    assert failure.seen[0][:100] in "\n".join(found.evidence)
    assert len(found.evidence) < 9


@pytest.mark.parametrize("name", OF_A_WORKER)
def test_the_process_that_failed_first_is_the_one_that_is_told(name: str) -> None:
    failure = first_failure(lines_of(name))
    assert failure is not None
    assert failure.process == "Worker"
    assert failure.place.startswith("vllm/")


@pytest.mark.parametrize("name", STOPPED)
def test_an_engine_that_was_told_to_stop_is_not_said_to_have_failed(name: str) -> None:
    assert first_failure(lines_of(name)) is None
    assert was_stopped(lines_of(name))
    found = explain(PodEvidence(a_crashed_pod(), log=lines_of(name)))
    assert found is not None
    assert found.cause == "vLLM had come up and was told to stop; it did not fail by itself"


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_start_is_told_alike_where_each_line_has_its_time(name: str) -> None:
    timed = [f"2026-11-28T14:40:26.123456789Z {line}" for line in lines_of(name)]
    failure, plain = first_failure(timed), first_failure(lines_of(name))
    assert failure is not None
    assert plain is not None
    assert (failure.exception, failure.message) == (plain.exception, plain.message)
