"""Which files hold the weights, by their names and the index."""

from __future__ import annotations

import pytest

from tasks.records.weights import CONSOLIDATED_INDEX, INDEX, PICKLE_INDEX, weight_files

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("paths", "indexes", "read", "copies", "missing"),
    [
        (["model.safetensors"], {}, ["model.safetensors"], [], []),
        (SHARDS, {}, SHARDS, [], []),
        (SHARDS[:1], {}, SHARDS[:1], [], SHARDS[1:]),
        (SHARDS, {INDEX: SHARDS}, SHARDS, [], []),
        (SHARDS[:1], {INDEX: SHARDS}, SHARDS[:1], [], SHARDS[1:]),
        (["model.safetensors", "pytorch_model.bin"], {}, ["model.safetensors"], [], []),
        (
            [*SHARDS, "consolidated.safetensors", "original/model.safetensors", "config.json"],
            {},
            SHARDS,
            ["consolidated.safetensors", "original/model.safetensors"],
            [],
        ),
        (["params.json", "consolidated.safetensors"], {}, ["consolidated.safetensors"], [], []),
        (
            ["params.json", "consolidated-1.safetensors"],
            {CONSOLIDATED_INDEX: ["consolidated-1.safetensors", "consolidated-2.safetensors"]},
            ["consolidated-1.safetensors"],
            [],
            ["consolidated-2.safetensors"],
        ),
        (["a.safetensors", "b.safetensors"], {INDEX: ["a.safetensors"]}, ["a.safetensors"], ["b.safetensors"], []),
        (["pytorch_model.bin", "training_args.bin"], {}, ["pytorch_model.bin"], [], []),
        (
            ["pytorch_model-00001-of-00002.bin"],
            {PICKLE_INDEX: ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]},
            ["pytorch_model-00001-of-00002.bin"],
            [],
            ["pytorch_model-00002-of-00002.bin"],
        ),
        (["adapter_model.safetensors"], {}, [], [], []),
        (["2_Dense/model.safetensors", "model.safetensors"], {}, ["model.safetensors"], [], []),  # a part, no copy
        (["metal/model.bin", "model.safetensors"], {}, ["model.safetensors"], ["metal/model.bin"], []),
        (["q4.gguf"], {}, [], [], []),
    ],
)  # fmt: skip
def test_which_files_hold_the_weights(
    paths: list[str], indexes: dict[str, list[str]], read: list[str], copies: list[str], missing: list[str]
) -> None:
    found = weight_files(paths, indexes)
    assert (list(found.read), list(found.copies), list(found.missing)) == (list(read), copies, list(missing))
