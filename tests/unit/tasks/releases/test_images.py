"""An image by its digest: what a file's tag stands for, what is told of a tag that moved, what a registry that is away does."""

from __future__ import annotations

from typing import Any

import pytest

import tasks.releases.task as releases
from tasks.cloud.registry import Digest
from tasks.records.model import Engine
from tasks.releases.images import moved, same_engine, written
from tests.support.builders import a_model, an_environment

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
TAG = "vllm/vllm-openai:v0.32.0"


def lora(revision: str) -> dict[str, str]:
    return {"name": "polite", "repo": "acme/polite", "revision": revision}


@pytest.mark.parametrize(
    ("image", "as_written"),
    [
        (f"{TAG}@{A}", TAG),
        (TAG, TAG),
        (f"vllm/vllm-openai@{A}", f"vllm/vllm-openai@{A}"),
        (f"localhost:5000/vllm@{A}", f"localhost:5000/vllm@{A}"),
        (f"localhost:5000/vllm:1@{A}", "localhost:5000/vllm:1"),
    ],
)
def test_a_files_words_are_told_from_the_digest(image: str, as_written: str) -> None:
    assert written(image) == as_written


@pytest.mark.parametrize(
    ("proven", "asked", "same"),
    [
        ({"image": f"{TAG}@{A}"}, {"image": TAG}, True),
        ({"image": f"{TAG}@{A}"}, {"image": f"{TAG}@{A}"}, True),
        ({"image": f"{TAG}@{A}"}, {"image": f"{TAG}@{B}"}, False),
        ({"image": TAG}, {"image": TAG}, True),
        ({"image": f"{TAG}@{A}"}, {"image": "vllm/vllm-openai:v0.31.0"}, False),
        ({"image": f"{TAG}@{A}"}, {"image": TAG, "max_num_seqs": 7}, False),
        ({"lora": [lora("1" * 40)]}, {"lora": [lora("main")]}, True),
        ({"lora": [lora("1" * 40)]}, {"lora": [lora("1" * 40)]}, True),
        ({"lora": [lora("1" * 40)]}, {"lora": [lora("2" * 40)]}, False),
        ({"lora": [lora("1" * 40)]}, {"lora": [lora("main") | {"name": "curt"}]}, False),
        ({"lora": [lora("1" * 40)]}, {}, False),
    ],
)
def test_a_release_is_what_the_file_asks_for(
    proven: dict[str, Any], asked: dict[str, Any], same: bool
) -> None:
    assert same_engine(Engine(**proven), Engine(**asked)) is same


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (f"{TAG}@{A}", f"{TAG}@{B}", True),
        (f"{TAG}@{A}", f"{TAG}@{A}", False),
        (f"vllm/vllm-openai:v0.31.0@{A}", f"{TAG}@{B}", False),
        (TAG, f"{TAG}@{B}", False),
        (f"vllm/vllm-openai@{A}", f"vllm/vllm-openai@{B}", False),
        (None, f"{TAG}@{B}", False),
    ],
)
def test_only_the_same_tag_with_another_digest_has_moved(before: str | None, now: str, told: bool) -> None:
    said = moved(before, now)
    assert bool(said) is told
    assert said is None or (A in said and B in said)


def pinned(
    monkeypatch: pytest.MonkeyPatch, answer: Digest, serves: str | None = None, image: str = TAG
) -> str:
    monkeypatch.setattr(releases, "read_digest", lambda asked: answer)
    monkeypatch.setattr(releases, "_digest_that_serves", lambda model, environment: serves)
    model = a_model(engine={"image": image})
    return releases.pin_image.fn(model, an_environment()).engine.image


def test_a_tag_becomes_what_it_means_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned(monkeypatch, Digest(A), serves=f"{TAG}@{B}") == f"{TAG}@{A}"


def test_a_digest_of_the_file_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned(monkeypatch, Digest(B), image=f"{TAG}@{A}") == f"{TAG}@{A}"


def test_a_registry_that_is_away_makes_no_other_release(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert pinned(monkeypatch, Digest(unknown="away"), serves=f"{TAG}@{A}") == f"{TAG}@{A}"
    assert "kept as it serves" in caplog.text
    assert pinned(monkeypatch, Digest(unknown="away")) == TAG
    assert "stays a tag, which can move" in caplog.text


def test_an_image_that_is_gone_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned(monkeypatch, Digest(unknown="no such tag", missing=True), serves=f"{TAG}@{A}") == TAG
