"""The golden transcripts of a real vLLM 0.32.0, read and with their volatile values made equal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "golden"
# What differs from run to run or from tokenizer to tokenizer; everything else must match to the byte.
VOLATILE: Final = (
    (r'"id":"(chatcmpl|cmpl|modelperm|embd|score)-[0-9a-f]{16}"', r'"id":"\1-X"'),
    (r'"created":\d+', '"created":0'),
    (r"vllm-0\.32\.0-[0-9a-f]{8}", "vllm-0.32.0-X"),
    (r'"(content|text)":"(?:[^"\\]|\\.)*"', r'"\1":"…"'),
    (r'"embedding":\[[^\]]*\]', '"embedding":[]'),
    (r'"(score|relevance_score)":[-\d.e]+', r'"\1":0'),
    (r'"prompt_tokens":\d+,"total_tokens":\d+', '"prompt_tokens":P,"total_tokens":T'),
    (r'"root":"[^"]*"', '"root":"X"'),
    (r'"count":\d+,(.*)"tokens":\[[\d,]*\]', r'"count":N,\1"tokens":[]'),
    (r"contains \d+ characters \(more than \d+ characters", "contains N characters (more than N characters"),
    (r"value=\d{4,5}\)\"", 'value=N)"'),
)


@dataclass(frozen=True)
class Transcript:
    """One request as curl sent it, and the answer it got."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    status: int
    answer_headers: dict[str, str]
    answer: str


def normalised(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text.strip()


def read(name: str) -> Transcript:
    command, _, rest = (FOLDER / f"{name}.txt").read_text("utf-8").partition("\n")
    head, _, answer = rest.partition("\n\n")
    status, *lines = head.splitlines()
    body = re.search(r" -d (.*) http://", command)
    method = re.search(r" -X (\w+)", command)
    url = command.rpartition("http://")[2]
    return Transcript(
        name=name,
        method=method[1] if method else "POST" if body else "GET",
        path="/" + url.partition("/")[2],
        headers=dict(h.split(": ", 1) for h in re.findall(r" -H (\S+: \S+)", command)),
        body=body[1] if body else None,
        status=int(status.split()[1]),
        answer_headers=dict(line.split(": ", 1) for line in lines),
        answer=answer,
    )
