"""What is left of words that hold what gives access."""

from __future__ import annotations

import pytest

from tasks.records.redacted import redacted


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("Connection refused", "Connection refused"),
        ("GET https://cdn.x/a/b?X-Amz-Signature=abc&Expires=1: 403", "GET https://cdn.x/a/b?…: 403"),
        ('for url "http://127.0.0.1:9/b/k?uploadId=u&partNumber=2"', 'for url "http://127.0.0.1:9/b/k?…"'),
        ("Max retries exceeded with url: /a/b?Signature=abc (Caused by", "Max retries exceeded with url: /a/b?… (Caused by"),
        ("Invalid token hf_abcDEF123 given", "Invalid token hf_… given"),
        ("is it there? no", "is it there? no"),
        ("kind or name?", "kind or name?"),
    ],
)  # fmt: skip
def test_signed_queries_and_tokens_are_left_out(words: str, left: str) -> None:
    assert redacted(words) == left
