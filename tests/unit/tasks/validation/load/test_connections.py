"""Connections against a server on a socket: which are used again, and how a request on a dying one ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tasks.validation.load.connections import SPARE, Pool, Tls
from tasks.validation.load.wire import Reading
from tests.support.certificates import tls_pair
from tests.support.loopback import free_port

ASK = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(serve: Serve, test: Callable[[Pool], Awaitable[None]], *, stall: float = 5.0) -> None:
    async def both() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], tls=None, stall=stall)
        try:
            await asyncio.wait_for(test(pool), 20)
        finally:
            await pool.close()
            server.close()

    asyncio.run(both())


async def ask(pool: Pool) -> Reading:
    ended: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
    pool.send(ASK, Reading(0.0, counted=True, streaming=False), ended.set_result)
    return await ended


async def request_of(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


def test_one_connection_serves_request_after_request() -> None:
    used: set[object] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request_of(reader):
            used.add(writer)
            writer.write(WHOLE)
        writer.close()

    async def test(pool: Pool) -> None:
        for _ in range(20):
            reading = await ask(pool)
            assert (reading.failure, reading.status) == ("", 200)
        assert len(used) == 1

    run(serve, test)


def test_a_connection_the_server_closed_is_not_used_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await request_of(reader):
            writer.write(WHOLE)  # says nothing of closing
        writer.close()

    async def test(pool: Pool) -> None:
        for _ in range(5):
            assert (await ask(pool)).failure == ""
            await asyncio.sleep(0.05)

    run(serve, test)


def test_connections_stand_ready_before_they_are_asked_for() -> None:
    opened = []
    another = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        if len(opened) > 5:
            another.set()
        await request_of(reader)
        writer.close()

    async def test(pool: Pool) -> None:
        await pool.open(5)
        pool.send(ASK, Reading(0.0, counted=True), lambda reading: None)
        await another.wait()  # a spare comes for the one that went
        assert len(opened) <= 5 + SPARE

    run(serve, test)


def test_silence_before_an_answer_and_within_one_have_different_names() -> None:
    answers = [b"", HEAD + b"2\r\nhi\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await request_of(reader):
            writer.write(answers.pop(0))
            await reader.read()  # until the client gives up
        writer.close()

    async def test(pool: Pool) -> None:
        assert (await ask(pool)).failure == "no answer in time"
        assert (await ask(pool)).failure == "stalled"

    run(serve, test, stall=0.3)


def test_a_connection_that_dies_within_an_answer_is_lost() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await request_of(reader):
            writer.write(HEAD + b"2\r\nhi\r\n")
        writer.close()

    async def test(pool: Pool) -> None:
        assert (await ask(pool)).failure == "connection lost"

    run(serve, test)


def test_what_is_no_http_is_an_unreadable_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await request_of(reader):
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await reader.read()
        writer.close()

    async def test(pool: Pool) -> None:
        assert (await ask(pool)).failure == "unreadable answer"

    run(serve, test)


def test_giving_up_ends_what_runs() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def test(pool: Pool) -> None:
        ended: list[Reading] = []
        for _ in range(3):
            pool.send(ASK, Reading(0.0, counted=True), ended.append)
        await asyncio.sleep(0.1)
        pool.give_up("still running after the drain")
        assert [reading.failure for reading in ended] == ["still running after the drain"] * 3

    run(serve, test)


def test_giving_up_ends_what_has_no_connection_yet() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def test(pool: Pool) -> None:
        ended: list[Reading] = []
        for _ in range(3):
            pool.send(ASK, Reading(0.0, counted=True), ended.append)
        pool.give_up("still running after the drain")  # before any of them could connect
        assert [reading.failure for reading in ended] == ["still running after the drain"] * 3
        await asyncio.sleep(0.1)
        assert len(ended) == 3

    run(serve, test)


def test_nobody_listening_is_a_refusal() -> None:
    async def alone() -> None:
        pool = Pool("127.0.0.1", free_port(), tls=None, stall=1.0)
        assert (await ask(pool)).failure == "connection refused"
        await pool.close()

    asyncio.run(alone())


def test_an_encrypted_endpoint_is_asked_too_and_a_stranger_is_refused(tmp_path: Path) -> None:
    ours, theirs = tls_pair(tmp_path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request_of(reader):
            writer.write(WHOLE)
        writer.close()

    async def both() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours)
        port = server.sockets[0].getsockname()[1]
        for tls, failure in (
            (theirs, ""),
            (ssl.create_default_context(), "no connection: certificate refused"),
        ):
            pool = Pool("127.0.0.1", port, tls=Tls(tls, "127.0.0.1"), stall=5.0)
            assert [(await ask(pool)).failure for _ in range(3)] == [failure] * 3
            await pool.close()
        server.close()

    for new_loop in (asyncio.new_event_loop, uvloop.new_event_loop):  # the generator's is uvloop
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(both())
