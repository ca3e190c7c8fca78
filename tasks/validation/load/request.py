"""Requests as bytes, built just before they are due, so that building them does not delay sending. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from tasks.records.questions import GENERATING, PATHS
from tasks.validation.load.instructions import Instructions
from tasks.validation.load.prompts import Prompts
from tasks.validation.load.sources import GivenPrompt

LONGEST_QUERY = 32  # words; a query is a quarter of a pair of query and document, this at most


class RequestBuilder:
    """Builds the requests of one run. `longest`: most words of a drawn prompt; `given` prompts are repeated in order."""

    def __init__(
        self, instructions: Instructions, key: str, *, longest: int = 0, given: Sequence[GivenPrompt] = ()
    ) -> None:
        url = urlsplit(instructions.base_url)
        self._path = url.path
        self._headers = (
            f"Host: {url.netloc}\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\nUser-Agent: slipway\r\n"
        )
        self._head = (
            f"POST {url.path}{PATHS[instructions.endpoint]} HTTP/1.1\r\n{self._headers}"
            "Content-Type: application/json\r\nContent-Length: "
        )
        self._route, self._texts = instructions.endpoint, instructions.texts
        body: dict[str, object] = {"model": instructions.served_name}
        if self._route in GENERATING:
            body |= {"temperature": 0.0, "stream": instructions.streaming}
        if instructions.streaming:
            body["stream_options"] = {"include_usage": True}
        self._common = json.dumps(body)[:-1]
        self._given = given
        self._prompts = None if given else Prompts(instructions.seed, longest)

    def models(self) -> bytes:
        """GET /v1/models."""
        return f"GET {self._path}/models HTTP/1.1\r\n{self._headers}\r\n".encode()

    def request(self, words: int, tokens: int, index: int) -> bytes:
        """Request `index`: texts of `words` words, and an answer of `tokens` tokens where it has any.

        A given prompt may say its own answer's length.
        """
        parts = [self._common]
        if self._prompts is None:
            given = self._given[index % len(self._given)]
            parts += [_length(tokens, given.max_tokens)] if self._route in GENERATING else []
            parts.append(self._asked_given(given))
        elif self._route in GENERATING:
            # letters and spaces need no escaping in JSON
            text = self._prompts.text(words, index)
            parts += [_length(tokens), self._asked(text)]
        else:
            parts.append(self._pooled(self._prompts, words, index))
        body = f"{', '.join(parts)}}}".encode()
        return f"{self._head}{len(body)}\r\n\r\n".encode() + body

    def _asked(self, text: str) -> str:
        if self._route == "chat":
            return f'"messages": [{{"role": "user", "content": "{text}"}}]'
        return f'"prompt": "{text}"'

    def _asked_given(self, given: GivenPrompt) -> str:
        if self._route == "chat":
            return f'"messages": {given.messages}'
        name = "prompt" if self._route == "completions" else "input"
        return f'"{name}": {json.dumps(given.text)}'

    def _pooled(self, prompts: Prompts, words: int, index: int) -> str:
        """The texts of an embeddings, score or rerank request, each another."""
        first = index * self._texts
        if self._route == "embeddings":
            return f'"input": {json.dumps([prompts.text(words, first + one) for one in range(self._texts)])}'
        asked = max(1, min(LONGEST_QUERY, words // 4))
        documents = [prompts.text(max(1, words - asked), first + one) for one in range(self._texts)]
        query = json.dumps(prompts.text(asked, first))
        names = ("query", "documents") if self._route == "rerank" else ("text_1", "text_2")
        return f'"{names[0]}": {query}, "{names[1]}": {json.dumps(documents)}'


def _length(tokens: int, most: int | None = None) -> str:
    """ignore_eos is vLLM's own: the answer is as long as asked for. With a length of its own a given prompt may end before."""
    return f'"max_tokens": {tokens}, "ignore_eos": true' if most is None else f'"max_tokens": {most}'
