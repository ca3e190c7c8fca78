"""Answer embeddings, scores and rankings of a pooling model, each as one JSON document.

Key order, separators and refusals are those of vLLM 0.32.0 with an XLM-RoBERTa (tests/images/golden/pooling). Vectors and scores come
from the text alone: the same text has the same vector, and no model is run. What differs: base64 vectors, `dimensions`, messages and
token ids are not taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from slipway_sandbox.faults import Fault
from slipway_sandbox.images.vllm.engine import Engine
from slipway_sandbox.images.vllm.faulting import EngineFaults
from slipway_sandbox.images.vllm.protocol import Refusal, compact
from slipway_sandbox.images.vllm.serving import usage


def _as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


Texts = Annotated[list[str], BeforeValidator(_as_list)]
SCORE_ROUTES: Final = ("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank")


class PoolingRequest(BaseModel):
    """What all of them share. Unknown fields are accepted, as in vLLM."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None


class EmbeddingRequest(PoolingRequest):
    input: Texts


class ScoreRequest(PoolingRequest):
    text_1: str
    text_2: Texts


class RerankRequest(PoolingRequest):
    query: str
    documents: Texts


class Pooling:
    """Handles the routes of a pooling model. `encode`: tokens of a text, checked against the model's length."""

    def __init__(
        self,
        engine: Engine,
        faults: EngineFaults,
        *,
        served_names: Sequence[str],
        dimensions: int,
        encode: Callable[[str], tuple[int, ...]],
    ) -> None:
        self._engine, self._faults, self._encode = engine, faults, encode
        self._names, self._dimensions = tuple(served_names), dimensions

    async def embeddings(self, asked: EmbeddingRequest) -> bytes:
        self._check(asked)
        if not asked.input:
            raise Refusal("You must pass at least one prompt")
        tokens = await self._pooled([self._encode(text) for text in asked.input])
        altered = self._faults.struck("engine-altered-answers")
        data = [
            {"index": number, "object": "embedding", "embedding": self._vector(text, altered)}
            for number, text in enumerate(asked.input)
        ]
        return self._listed("embd", asked, data, tokens)

    async def score(self, asked: ScoreRequest) -> bytes:
        self._check(asked)
        tokens, scores = await self._scored(asked.text_1, asked.text_2)
        data = [{"index": number, "object": "score", "score": value} for number, value in enumerate(scores)]
        return self._listed("score", asked, data, tokens)

    async def rerank(self, asked: RerankRequest) -> bytes:
        self._check(asked)
        tokens, scores = await self._scored(asked.query, asked.documents)
        ranked = sorted(enumerate(scores), key=lambda one: -one[1])
        results = [
            {
                "index": number,
                "document": {"text": asked.documents[number], "multi_modal": None},
                "relevance_score": value,
            }
            for number, value in ranked
        ]
        return compact(
            {
                "id": f"score-{secrets.token_hex(8)}",
                "model": asked.model or self._names[0],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
                "results": results,
            }
        )

    def _check(self, asked: PoolingRequest) -> None:
        if asked.model is not None and asked.model not in self._names:
            raise Refusal(f"The model `{asked.model}` does not exist.", kind="NotFoundError", code=404)

    async def _scored(self, query: str, documents: Sequence[str]) -> tuple[int, list[float]]:
        """Tokens of every pair, and a score for each."""
        asked = self._encode(query)
        tokens = await self._pooled([(*asked, *self._encode(document)) for document in documents])
        altered = self._faults.struck("engine-altered-answers")
        other = altered if altered and altered.value is None else None
        shift = (altered.value or 0.0) if altered else 0.0
        first = self._vector(query, None)
        return tokens, [
            math.fsum(a * b for a, b in zip(first, self._vector(document, other), strict=True)) + shift
            for document in documents
        ]

    def _vector(self, text: str, altered: Fault | None) -> list[float]:
        """A text's vector; altered: another one, or with a value one at that cosine distance from it."""
        own = vector(text, self._dimensions)
        if altered is None:
            return own
        other = vector(f"altered {text}", self._dimensions)
        return other if altered.value is None else turned(own, other, altered.value)

    async def _pooled(self, prompts: Sequence[tuple[int, ...]]) -> int:
        slow = self._faults.struck("engine-slow-token")
        extra = (slow.value or 1.0) if slow else 0.0
        await asyncio.gather(*(self._engine.encode(prompt, extra_seconds=extra) for prompt in prompts))
        return sum(map(len, prompts))

    def _listed(self, kind: str, asked: PoolingRequest, data: list[dict[str, Any]], tokens: int) -> bytes:
        details = ("prompt_tokens_details", "completion_tokens_details")
        return compact(
            {
                "id": f"{kind}-{secrets.token_hex(8)}",
                "object": "list",
                "created": int(time.time()),
                "model": asked.model or self._names[0],
                "data": data,
                "usage": usage(tokens, 0, details),
            }
        )


def vector(text: str, dimensions: int) -> list[float]:
    """A vector of length one, drawn from the text."""
    drawn = hashlib.shake_128(json.dumps(text).encode()).digest(2 * dimensions)
    values = [number / 32768 for number in struct.unpack(f"<{dimensions}h", drawn)]
    length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def turned(own: Sequence[float], other: Sequence[float], distance: float) -> list[float]:
    """A vector of length one at a cosine distance from `own`, in the plane of both."""
    along = math.fsum(a * b for a, b in zip(own, other, strict=True))
    across = [b - along * a for a, b in zip(own, other, strict=True)]
    cosine, length = 1 - distance, math.hypot(*across)
    sine = math.sqrt(max(0.0, 1 - cosine * cosine)) / length
    return [cosine * a + sine * b for a, b in zip(own, across, strict=True)]
