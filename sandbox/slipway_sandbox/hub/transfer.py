"""Sending a part of a file: ranges, validators, the kernel's sendfile, and the ways a transfer can go wrong."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass

from aiohttp import web

from slipway_sandbox.hub.blobs import FileSource, Source

_CHUNK = 1 << 20
_SLOW_TICKS = 20  # a throttled transfer sends this often a second
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Unsatisfiable(ValueError):
    """The range begins after the end of the file."""


@dataclass(frozen=True)
class Span:
    """`count` bytes from `offset`; `partial` when a range was asked for."""

    offset: int
    count: int
    partial: bool


@dataclass(frozen=True)
class Trouble:
    """What goes wrong on the way. `bytes_a_second`: None is full speed."""

    bytes_a_second: float | None = None
    truncate: bool = False
    reset: bool = False
    flip_byte: bool = False

    @property
    def any(self) -> bool:
        return self != Trouble()


def requested_span(header: str | None, size: int) -> Span:
    """The span a Range header asks of `size` bytes (RFC 9110, 14.2). Raises Unsatisfiable.

    A header that is malformed or names several ranges is ignored, as object stores do.
    """
    whole = Span(0, size, False)
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return whole
    first, last = match[1], match[2]
    if not first:
        count = min(int(last), size)
        if count == 0:
            raise Unsatisfiable(header)
        return Span(size - count, count, True)
    if last and int(last) < int(first):
        return whole
    if int(first) >= size:
        raise Unsatisfiable(header)
    end = min(int(last), size - 1) if last else size - 1
    return Span(int(first), end - int(first) + 1, True)


async def send(
    request: web.Request,
    source: Source,
    span: Span,
    headers: dict[str, str],
    trouble: Trouble = Trouble(),
) -> web.StreamResponse:
    """Answer 200 or 206 with the span, or only its headers to HEAD."""
    response = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
    response.headers["Accept-Ranges"] = "bytes"
    if span.partial:
        end = span.offset + span.count - 1
        response.headers["Content-Range"] = f"bytes {span.offset}-{end}/{source.size}"
    if trouble.truncate and request.method != "HEAD":
        response.enable_chunked_encoding()  # no Content-Length: nothing on this level says bytes are missing
    else:
        response.content_length = span.count
    await response.prepare(request)
    if request.method == "HEAD" or span.count == 0:
        return response
    if isinstance(source, FileSource) and not trouble.any:
        await _send_file(request, response, source, span)
    else:
        await _send_chunks(request, response, source, span, trouble)
    return response


async def _send_file(
    request: web.Request, response: web.StreamResponse, source: FileSource, span: Span
) -> None:
    if request.transport is None:
        raise ConnectionResetError("the client went away")
    with source.path.open("rb") as file:
        try:
            loop = asyncio.get_running_loop()
            await loop.sendfile(request.transport, file, span.offset, span.count)
        except NotImplementedError:  # uvloop's transports have no sendfile
            await _send_chunks(request, response, source, span, Trouble())
            return
    await response.write_eof()


async def _send_chunks(
    request: web.Request, response: web.StreamResponse, source: Source, span: Span, trouble: Trouble
) -> None:
    end = span.offset + span.count
    stop = end if not (trouble.truncate or trouble.reset) else span.offset + span.count // 2
    middle = span.offset + span.count // 2
    size = _CHUNK if trouble.bytes_a_second is None else max(1, int(trouble.bytes_a_second / _SLOW_TICKS))
    position = span.offset
    while position < stop:
        chunk = source.read(position, min(size, _CHUNK, stop - position))
        if not chunk:
            raise OSError(f"a published file became shorter: nothing at {position} of {end}")
        if trouble.flip_byte and position <= middle < position + len(chunk):
            damaged = bytearray(chunk)
            damaged[middle - position] ^= 0x01
            chunk = bytes(damaged)
        await response.write(chunk)
        position += len(chunk)
        if trouble.bytes_a_second is not None:
            await asyncio.sleep(len(chunk) / trouble.bytes_a_second)
    if trouble.reset:
        _reset(request)
    else:
        await response.write_eof()


def _reset(request: web.Request) -> None:
    """Break the connection with RST, so that the client sees a reset and not an early end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
