"""Hostile commits, each refused by name, and honest ones that come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tasks.records.results import HubFile, HubInspection, HubModel
from tasks.records.watching import HubCommit, WatchSettings
from tasks.watch.policy import judge_contents, judge_listing

REPO, OLD, NEW = "acme/llama", "a" * 40, "b" * 40
POLICY = WatchSettings()
SIZES = {
    "README.md": 1_000,
    "config.json": 600,
    "tokenizer.json": 9_000,
    "model.safetensors": 1_000_000,
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 384,
    "max_position_embeddings": 8192,
}


def listed(
    commit: str = NEW,
    more: dict[str, int] | None = None,
    without: Sequence[str] = (),
    contents: str = "new",
    **over: Any,
) -> HubCommit:
    """A commit with the usual files, `more` of them or some `without`; `contents` tells files of one commit from another's."""
    sizes = {path: size for path, size in (SIZES | (more or {})).items() if path not in without}
    files = tuple(
        HubFile(path=path, size=size, git_sha1=f"{contents} {path}") for path, size in sizes.items()
    )
    staged = tuple(path for path in sizes if not path.endswith((".bin", ".onnx")))
    given: dict[str, Any] = {"repo": REPO, "licence": "apache-2.0", "staged": staged} | over
    return HubCommit(commit=commit, files=files, **given)


PROVEN = listed(OLD, contents="old")


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (listed(repo="mallory/llama"), "organisation: mallory is none of acme"),
        (listed(repo="acme/llama-next"), "repository: acme/llama is acme/llama-next now"),
        (listed(disabled=True), "disabled: "),
        (listed(gated=True), "gated: it was not before"),
        (listed(unreadable="the repo is gated and no token was given"), "gated: the repo is gated"),
        (listed(licence="llama3.1"), "licence: llama3.1, not apache-2.0"),
        (listed(licence=""), "licence: none, not apache-2.0"),
        (listed(more={"pytorch_model.bin": 10}), "pickles: new or changed: pytorch_model.bin"),
        (listed(more={"extra/optimizer.pt": 10}), "pickles: new or changed: extra/optimizer.pt"),
        (listed(more={"modeling_llama.py": 10}), "remote code: new or changed: modeling_llama.py"),
        (listed(more={"kernels/op.so": 10}), "programs: new or changed: kernels/op.so"),
        (listed(more={"../../etc/cron.d/x": 10}), "paths: not a plain path: ../../etc/cron.d/x"),
        (listed(more={"a\nb.json": 10}), "paths: not a plain path"),
        (listed(more={".git/hooks/x": 10}), "paths: not a plain path"),
        (
            listed(without=["model.safetensors"], more={"pytorch_model.bin": 10}),
            "formats: it has no safetensors any more",
        ),
        (listed(without=["model.safetensors"]), "weights: it has none to stage"),
        (listed(without=["tokenizer.json"]), "tokenizer: tokenizer.json is gone"),
        (
            listed(more={"model-2.safetensors": 300_000}),
            "size: 1,310,600 bytes to stage, 1,010,600 before; 1.2 times",
        ),
    ],
)
def test_a_hostile_commit_is_refused_by_its_name(hostile: HubCommit, reason: str) -> None:
    assert any(found.startswith(reason) for found in judge_listing(POLICY, REPO, hostile, PROVEN))


def test_a_rewritten_history_is_refused() -> None:
    [reason] = judge_listing(POLICY, REPO, listed(), None)
    assert reason.startswith("history: ")


def test_every_reason_is_told() -> None:
    hostile = listed(licence="other", more={"pytorch_model.bin": 10, "run.py": 3})
    assert [one.partition(":")[0] for one in judge_listing(POLICY, REPO, hostile, PROVEN)] == [
        "licence",
        "pickles",
        "remote code",
    ]


@pytest.mark.parametrize(
    ("honest", "policy"),
    [
        (listed(), POLICY),
        (listed(more={"model.safetensors": 1_150_000}), POLICY),
        (listed(more={"onnx/model.onnx": 9_000_000}), POLICY),  # is not staged
        (listed(more={"images/a b (1).png": 10}), POLICY),
        (listed(more={"model-2.safetensors": 900_000}), WatchSettings(growth=2)),
        (listed(licence="mit"), WatchSettings(licences=("mit", "apache-2.0"))),
    ],
)
def test_an_honest_commit_comes_in(honest: HubCommit, policy: WatchSettings) -> None:
    assert judge_listing(policy, REPO, honest, PROVEN) == []


def test_pickles_and_code_that_were_proven_stay_allowed_while_they_are_the_same() -> None:
    more = {"pytorch_model.bin": 10, "modeling.py": 5}
    proven = listed(OLD, more=more, contents="same")
    assert judge_listing(POLICY, REPO, listed(more=more, contents="same"), proven) == []
    assert len(judge_listing(POLICY, REPO, listed(more=more), proven)) == 2


def test_a_move_within_allowed_organisations_is_refused_too() -> None:
    """The name it left may be taken by anybody."""
    [reason] = judge_listing(
        WatchSettings(organisations=("acme", "acme-ai")), REPO, listed(repo="acme-ai/llama"), PROVEN
    )
    assert reason.startswith("repository: ")


def inspected(config: dict[str, Any] | None = None, **over: Any) -> HubInspection:
    model = HubModel(repo=REPO, commit=NEW, gated=False, files=())
    return HubInspection(model=model, config=CONFIG | (config or {}), tensor_bytes={}, **over)


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (inspected({"architectures": ["MambaForCausalLM"]}), "architecture: architectures is"),
        (inspected({"hidden_size": 768}), "architecture: hidden_size is 768, 384 before"),
        (inspected({"auto_map": {"AutoModel": "m.M"}}), "remote code: auto_map of config.json"),
        (
            inspected(documents={"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["t.T", None]}}}),
            "remote code: auto_map of tokenizer_config.json",
        ),
        (inspected({"quantization_config": {"quant_method": "awq"}}), "quantisation: "),
        (inspected({"max_position_embeddings": 2048}), "context: 2048 positions, 8192 before"),
        (inspected(missing=("model-2.safetensors",)), "weights: named by an index and not there: model-2"),
        (
            inspected(unreadable={"model.safetensors": "a page"}),
            "weights: not safetensors: model.safetensors",
        ),
    ],
)
def test_a_commit_of_another_model_is_refused_by_its_name(hostile: HubInspection, reason: str) -> None:
    [found] = judge_contents(hostile, inspected())
    assert found.startswith(reason)


def test_the_same_model_trained_further_comes_in() -> None:
    longer = inspected({"max_position_embeddings": 16384, "transformers_version": "5.0"})
    assert judge_contents(longer, inspected()) == []
