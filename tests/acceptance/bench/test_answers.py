"""The twenty alterations of bench.answers: each changes what an engine reads, and one thing alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from slipway_sandbox.testing import make_models

from bench.answers.altered import Alteration, alterations, apart

KINDS = {
    "layer": "safetensors",
    "template": "tokenizer_config.json",
    "tokenizer": "tokenizer.json",
    "context": "config.json",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models")) / "tiny-llama" / "main"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_there_are_twenty_of_the_five_kinds() -> None:
    names = [one.name for one in alterations()]
    assert len(set(names)) == 20
    assert {name.partition(":")[0] for name in names} == {*KINDS, "dtype"}


@pytest.mark.parametrize("one", alterations(), ids=lambda one: one.name)
def test_an_alteration_changes_one_thing(one: Alteration, weights: Path, tmp_path: Path) -> None:
    before = contents(weights)
    apart(weights, tmp_path / "altered")
    one.change(tmp_path / "altered")
    after = contents(tmp_path / "altered")
    changed = {name for name in before if after[name] != before[name]}
    assert set(after) == set(before)
    assert contents(weights) == before
    if one.flags:
        assert not changed
    else:
        assert {name for name in changed if name.endswith(KINDS[one.name.partition(":")[0]])} == changed
        assert changed
