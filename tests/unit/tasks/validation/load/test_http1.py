"""HTTP/1.1 answers as servers write them, in whatever pieces they arrive, by each of the two parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.validation.load import http1, llhttp, plain_http1

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;name=value\r\n,\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
)
SIZED = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsorry!"
CLOSED = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED


Parser = type[llhttp.Answer] | type[plain_http1.Answer]
both = pytest.mark.parametrize("parser", [llhttp.Answer, plain_http1.Answer])


def fed(parser: Parser, data: bytes, sizes: list[int]) -> tuple[llhttp.Answer | plain_http1.Answer, bytes]:
    answer, body, at = parser(), b"", 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        at += size
        if piece:
            body += b"".join(answer.feed(piece))
    return answer, body


@both
@pytest.mark.parametrize(
    ("data", "status", "body", "done", "keep_alive"),
    [
        (CHUNKED, 200, b"hello,0123456789", True, True),
        (SIZED, 400, b"sorry!", True, False),
        (CLOSED, 200, b"until the end", False, False),
        (CONTINUED, 200, b"hello,0123456789", True, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True, True),
        (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, b"", True, True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x", True, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, b"", False, True),
        (CHUNKED[:-4], 200, b"hello,0123456789", False, True),
    ],
)
@given(sizes=st.lists(st.integers(1, 60), max_size=60))
def test_however_the_bytes_arrive_the_body_is_the_same(
    parser: Parser, data: bytes, status: int, body: bytes, done: bool, keep_alive: bool, sizes: list[int]
) -> None:
    answer, found = fed(parser, data, sizes)
    assert (answer.status, found, answer.done, answer.keep_alive) == (status, body, done, keep_alive)


@both
def test_an_end_of_the_connection_ends_only_what_has_no_other_end(parser: Parser) -> None:
    assert fed(parser, CLOSED, [])[0].end()
    assert not fed(parser, CHUNKED[:-9], [])[0].end()
    assert not fed(parser, b"HTTP/1.1 200 OK\r\n", [])[0].end()


@both
@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_what_is_no_http_is_refused(parser: Parser, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parser().feed(data)


def test_the_faster_one_is_taken_where_it_is_installed() -> None:
    assert http1.Answer is llhttp.Answer
