"""Log-probabilities of a chat completion in one document, as vLLM 0.32.0 writes them.

vllm/entrypoints/openai/chat_completion/protocol.py: ChatCompletionLogProbs and ChatCompletionLogProbsContent; serving.py:
_create_chat_logprobs. The values are made up from prompt, seed and place. No other token than the chosen one is listed,
whatever top_logprobs asks for, and neither streams nor text completions have any.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from slipway_sandbox.images.vllm.text import Continuation, Text

MOST_NATS = 3.0


def logprobs_of(
    text: Text, prompt: Sequence[int], seed: int, choice: int, count: int, *, shift: float, listed: bool
) -> dict[str, Any]:
    """The `logprobs` of a choice of `count` tokens. `shift`: nats that each is lower by; `listed`: with top_logprobs."""
    continuation = Continuation(text, prompt, seed, choice)
    digest = hashlib.blake2b(repr(("logprobs", seed, choice, tuple(prompt))).encode(), digest_size=8).digest()
    chance = random.Random(digest)
    content = []
    for _ in range(count):
        token = text.decode([continuation.next()[0]])
        one = {
            "token": token,
            "logprob": -chance.random() * MOST_NATS - shift,
            "bytes": list(token.encode(errors="replace")),
        }
        content.append(one | {"top_logprobs": [one] if listed else []})
    return {"content": content}
