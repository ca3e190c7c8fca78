"""A pooling model of the stand-in against transcripts of a real vLLM 0.32.0 (CPU) with a small XLM-RoBERTa, --runner=pooling."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from slipway_sandbox.hub import encoders
from tests.images.conftest import Launch, Pod, serving
from tests.images.golden_files import FOLDER, normalised, read

GOLDEN = sorted(path.stem for path in (FOLDER / "pooling").glob("*.txt"))


@pytest.fixture(scope="module")
def embedding(launch_session: Launch, tmp_path_factory: pytest.TempPathFactory) -> Pod:
    folder = tmp_path_factory.mktemp("models")
    encoders.write_embedding(folder / "tiny-embedding")
    serve = serving(launch_session, folder / "tiny-embedding" / "main")
    return serve("--max-model-len", "512", "--runner=pooling").until_ready()


@pytest.fixture(scope="module")
def reranker(launch_session: Launch, tmp_path_factory: pytest.TempPathFactory) -> Pod:
    folder: Path = tmp_path_factory.mktemp("models")
    encoders.write_reranker(folder / "tiny-reranker")
    return serving(launch_session, folder / "tiny-reranker" / "main")("--runner=pooling").until_ready()


@pytest.mark.parametrize("name", GOLDEN)
def test_an_answer_is_that_of_a_real_vllm(embedding: Pod, name: str) -> None:
    golden = read(f"pooling/{name}")
    answer = httpx.post(
        embedding.url + golden.path, content=golden.body, headers=golden.headers, trust_env=False, timeout=10
    )
    assert (answer.status_code, normalised(answer.text)) == (golden.status, normalised(golden.answer))


def test_pooled_texts_are_counted_as_requests_that_ended(embedding: Pod) -> None:
    def finished() -> float:
        page = httpx.get(f"{embedding.url}/metrics", trust_env=False).text
        line = next(
            one for one in page.splitlines() if one.startswith("vllm:request_success_total") and "stop" in one
        )
        return float(line.rpartition(" ")[2])

    before = finished()
    httpx.post(
        f"{embedding.url}/v1/embeddings", json={"model": "tiny", "input": ["one", "two"]}, trust_env=False
    ).raise_for_status()
    assert finished() == before + 2


def test_the_same_text_has_the_same_vector_and_another_has_another(embedding: Pod) -> None:
    body = {"model": "tiny", "input": ["one", "two", "one"]}
    answer = httpx.post(f"{embedding.url}/v1/embeddings", json=body, trust_env=False).json()
    first, second, third = (one["embedding"] for one in answer["data"])
    assert first == third != second
    assert len(first) == encoders.CONFIG["hidden_size"]


def test_vectors_and_scores_can_be_altered_by_a_fault(embedding: Pod) -> None:
    pair = {"model": "tiny", "text_1": "one", "text_2": ["one", "two"]}

    def asked() -> tuple[list[float], list[float]]:
        answer = httpx.post(
            f"{embedding.url}/v1/embeddings", json={"model": "tiny", "input": "one"}, trust_env=False
        )
        scored = httpx.post(f"{embedding.url}/v1/score", json=pair, trust_env=False)
        return answer.json()["data"][0]["embedding"], [one["score"] for one in scored.json()["data"]]

    vector, scores = asked()
    try:
        embedding.faults.set("engine-altered-answers", value=0.25)
        moved, shifted = asked()
        assert sum(a * b for a, b in zip(vector, moved, strict=True)) == pytest.approx(0.75)
        assert [new - old for new, old in zip(shifted, scores, strict=True)] == pytest.approx([0.25, 0.25])
        embedding.faults.clear()
        embedding.faults.set("engine-altered-answers")
        other, otherwise = asked()
        assert other != vector
        assert otherwise != scores
    finally:
        embedding.faults.clear()
    assert asked() == (vector, scores)


def test_an_encoder_keeps_no_cache_and_says_nothing_of_one(embedding: Pod) -> None:
    assert "KV cache" not in embedding.printed()


def test_a_reranker_scores_and_ranks_and_embeds_nothing(reranker: Pod) -> None:
    pair = {"model": "tiny", "query": "one", "documents": ["two", "one"]}
    ranked = httpx.post(f"{reranker.url}/v1/rerank", json=pair, trust_env=False).json()["results"]
    assert [one["index"] for one in ranked] == [1, 0]
    scores = {"model": "tiny", "text_1": "one", "text_2": ["one"]}
    assert httpx.post(f"{reranker.url}/score", json=scores, trust_env=False).status_code == 200
    answer = httpx.post(
        f"{reranker.url}/v1/embeddings", json={"model": "tiny", "input": "one"}, trust_env=False
    )
    assert (answer.status_code, answer.text) == (404, '{"detail":"Not Found"}')


def test_a_model_that_generates_has_no_pooling_routes(vllm: Pod) -> None:
    for path in ("/v1/embeddings", "/v1/score", "/rerank"):
        answer = httpx.post(vllm.url + path, json={"model": "tiny", "input": "one"}, trust_env=False)
        assert answer.status_code == 404
