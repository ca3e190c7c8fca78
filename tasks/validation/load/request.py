"""Requests as bytes, built just before they are due, so that building them does not delay sending. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from tasks.validation.load.instructions import Instructions
from tasks.validation.load.prompts import Prompts
from tasks.validation.load.sources import GivenPrompt

PATHS = {"chat": "/chat/completions", "completions": "/completions"}


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
        body = {"model": instructions.served_name, "temperature": 0.0, "stream": instructions.streaming}
        if instructions.streaming:
            body["stream_options"] = {"include_usage": True}
        self._common = json.dumps(body)[:-1]
        self._chat = instructions.endpoint == "chat"
        self._given = given
        self._prompts = None if given else Prompts(instructions.seed, longest)

    def models(self) -> bytes:
        """GET /v1/models."""
        return f"GET {self._path}/models HTTP/1.1\r\n{self._headers}\r\n".encode()

    def completion(self, words: int, tokens: int, index: int) -> bytes:
        """Request `index`: a prompt of `words` words, an answer of `tokens` tokens, unless the given prompt says otherwise."""
        if self._prompts is not None:
            # letters and spaces need no escaping in JSON
            text = self._prompts.text(words, index)
            what = (
                f'"messages": [{{"role": "user", "content": "{text}"}}]'
                if self._chat
                else f'"prompt": "{text}"'
            )
            most = None
        else:
            given = self._given[index % len(self._given)]
            what = f'"messages": {given.messages}' if self._chat else f'"prompt": {json.dumps(given.text)}'
            most = given.max_tokens
        # ignore_eos is vLLM's own: the answer is as long as asked for. With a length of its own a given prompt may end before.
        length = f'"max_tokens": {tokens}, "ignore_eos": true' if most is None else f'"max_tokens": {most}'
        body = f"{self._common}, {length}, {what}}}".encode()
        return f"{self._head}{len(body)}\r\n\r\n".encode() + body
