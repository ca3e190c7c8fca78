"""The golden transcripts of a real vLLM 0.32.0, read and with their volatile values made equal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

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


def compare(answer: httpx.Response, golden: Transcript) -> None:
    """Assert that status and body are the transcript's.

    Chunks are not tokens: on a busy machine several tokens come in one, so their number may be smaller (and with
    continuous usage some counts are passed over); their kinds and order may not differ.
    """
    assert answer.status_code == golden.status
    text, expected = normalised(answer.text), normalised(golden.answer)
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        assert text == expected
        return
    ours, theirs = (list(dict.fromkeys(page.splitlines())) for page in (text, expected))
    assert ours[:1] + ours[-2:] == theirs[:1] + theirs[-2:]
    rest = iter(theirs)
    assert all(line in rest for line in ours), "another kind of line, or another order"


def shape_of_metrics(page: str) -> list[str]:
    """The lines of a metrics page without values, and without the values of labels that tell of a machine."""
    lines = [line if line.startswith("#") else line.rpartition(" ")[0] for line in page.splitlines()]
    return [
        re.sub(r'="[^"]*"', "=", line)
        if line.startswith(("python_info{", "vllm:cache_config_info{"))
        else line
        for line in lines
    ]


def golden_metrics() -> list[str]:
    """`shape_of_metrics` of the real page, whose recording has no values."""
    lines = (FOLDER / "metrics_shape.txt").read_text("utf-8").splitlines()[1:]
    return shape_of_metrics("\n".join(line if line.startswith("#") else f"{line} 0" for line in lines))
