"""Requests as bytes, made a moment before they are due: what a request costs to make must not show as lateness. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx

from tasks.records.model import Load
from tasks.validation.prompts import Prompts
from tasks.validation.sources import GivenPrompt

PATHS = {"chat": "/chat/completions", "completions": "/completions"}


class Asking:
    """`base_url` ends in /v1; `longest` words a drawn prompt may have; `given` prompts are asked in their order, again and again."""

    def __init__(
        self,
        base_url: str,
        served_name: str,
        key: str,
        load: Load,
        *,
        longest: int = 0,
        given: Sequence[GivenPrompt] = (),
    ) -> None:
        url = httpx.URL(base_url + PATHS[load.endpoint])
        self._head = (
            f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nAccept: */*\r\n"
            "User-Agent: slipway\r\nContent-Length: "
        )
        body = {"model": served_name, "temperature": 0.0, "stream": load.streaming}
        if load.streaming:
            body["stream_options"] = {"include_usage": True}
        self._common = json.dumps(body)[:-1]
        self._chat = load.endpoint == "chat"
        self._given = given
        self._prompts = None if given else Prompts(load.seed, longest)

    def request(self, words: int, tokens: int, index: int) -> bytes:
        """Request `index`: so many words, and an answer of so many tokens, which a given prompt may say otherwise."""
        if self._prompts is not None:
            text = self._prompts.text(words, index)  # letters and spaces: JSON as they are
            what = (
                f'"messages": [{{"role": "user", "content": "{text}"}}]'
                if self._chat
                else f'"prompt": "{text}"'
            )
            length = f'"max_tokens": {tokens}, "ignore_eos": true'  # vLLM's own: as long as asked for
        else:
            given = self._given[index % len(self._given)]
            what = f'"messages": {given.messages}' if self._chat else f'"prompt": {json.dumps(given.text)}'
            length = (
                f'"max_tokens": {tokens}, "ignore_eos": true'
                if given.max_tokens is None
                else f'"max_tokens": {given.max_tokens}'  # at most: it may end where it wants to
            )
        body = f"{self._common}, {length}, {what}}}".encode()
        return f"{self._head}{len(body)}\r\n\r\n".encode() + body
