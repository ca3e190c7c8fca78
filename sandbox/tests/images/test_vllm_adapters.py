"""LoRA adapters: loaded with vLLM's checks and words, and served by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_sandbox.hub.models import make_all
from slipway_sandbox.images.vllm.adapters import load_adapters
from tests.images.conftest import Launch, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_all(tmp_path_factory.mktemp("models"), {})


def given(path: Path, *, rank: int = 8, enabled: bool = True) -> argparse.Namespace:
    return argparse.Namespace(lora_modules=[f"polite={path}"], enable_lora=enabled, max_lora_rank=str(rank))


def test_an_adapter_of_the_base_is_loaded_and_another_revision_answers_otherwise(made: Path) -> None:
    base = made / "tiny-llama" / "main"
    (first,) = load_adapters(given(made / "tiny-adapter" / "v1"), base)
    (second,) = load_adapters(given(made / "tiny-adapter" / "main"), base)
    assert first.name == second.name == "polite"
    assert first.seed != second.seed


@pytest.mark.parametrize(
    ("folder", "more", "said"),
    [
        ("tiny-adapter/main", {"rank": 1}, "LoRA rank 8 is greater than max_lora_rank 1."),
        ("tiny-base/main", {}, "Loading lora polite failed: No adapter found for"),
        ("tiny-adapter/main", {"enabled": False}, "LoRA is not enabled"),
    ],
)
def test_what_vllm_refuses_is_refused_in_its_words(
    made: Path, folder: str, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        load_adapters(given(made / folder, **more), made / "tiny-llama" / "main")


def test_modules_that_the_base_lacks_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected target modules in .* but received"):
        load_adapters(given(made / "tiny-adapter" / "main"), tmp_path)


def test_an_adapter_is_listed_below_its_base_and_answers_by_its_name(launch: Launch, made: Path) -> None:
    adapter = made / "tiny-adapter" / "main"
    flags = ("--enable-lora", "--max-lora-rank=8", "--lora-modules", f"polite={adapter}")
    pod = serving(launch, made / "tiny-llama" / "main")(*flags).until_ready()
    with httpx.Client(base_url=f"{pod.url}/v1/", timeout=30, trust_env=False) as client:

        def ask(model: str) -> httpx.Response:
            body = {"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
            return client.post("completions", json=body)

        cards = {one["id"]: one for one in client.get("models").json()["data"]}
        assert (cards["polite"]["parent"], cards["polite"]["root"]) == ("tiny", str(adapter))
        own, base = ask("polite").json(), ask("tiny").json()
        assert (own["model"], base["model"]) == ("polite", "tiny")
        assert own["choices"][0]["text"] != base["choices"][0]["text"]
        assert ask("other").status_code == 404
