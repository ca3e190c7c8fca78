"""A listener that speaks TLS: bytes come through whole, and who does not speak it gets nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import uvloop

from slipway_sandbox.kubernetes.certificates import make_authority
from slipway_sandbox.loopback import free_port
from slipway_sandbox.nodes.forward import Listener

MIB = b"x" * (1 << 20)
WITHIN = 30.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def both() -> None:
    authority, port = make_authority(), free_port()
    client = ssl.create_default_context(cadata=authority.ca_pem.decode())
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    listener = Listener("127.0.0.1", port, authority.server_context())
    listener.set_backends((("127.0.0.1", server.sockets[0].getsockname()[1]),))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
    writer.write(MIB)
    assert await reader.readexactly(len(MIB)) == MIB
    writer.close()
    plain, asking = await asyncio.open_connection("127.0.0.1", port)
    asking.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/" not in await plain.read(1000)
    asking.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(
            "127.0.0.1", port, ssl=ssl.create_default_context(), server_hostname="localhost"
        )
    listener.close()
    server.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_bytes_come_through_tls_and_plain_http_gets_no_answer(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def within() -> None:
        async with asyncio.timeout(WITHIN):
            await both()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(within())
