"""Probes and lifecycle hooks: how a container is asked how it is, with the kubelet's words for the answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from slipway_sandbox.apiclient import Object

BODY_LIMIT = 10 * 1024  # the kubelet reads no more of a probe's answer
USER_AGENT = "kube-probe/1.33"


class Executor(Protocol):
    """Runs a command in the container: (exit code, output). Raises TimeoutError, OSError."""

    async def __call__(self, command: Sequence[str], timeout: float) -> tuple[int, str]: ...


@dataclass(frozen=True)
class ProbeSpec:
    """A probe with the API's defaults filled in. Times in seconds."""

    handler: Object
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, probe: Object) -> ProbeSpec:
        return cls(
            probe,
            probe.get("initialDelaySeconds") or 0,
            max(probe.get("periodSeconds") or 10, 1),
            max(probe.get("timeoutSeconds") or 1, 1),
            max(probe.get("successThreshold") or 1, 1),
            max(probe.get("failureThreshold") or 3, 1),
        )


class Prober:
    """Asks one container at `address`; `ports` has its named ports."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, ports: Mapping[str, int], execute: Executor
    ) -> None:
        self._session, self._address, self._ports, self._execute = session, address, ports, execute

    async def ask(self, handler: Object, timeout: float) -> tuple[bool, str]:
        """(healthy, what the kubelet would say of it)."""
        if "httpGet" in handler:
            return await self._http(handler["httpGet"], timeout)
        if "tcpSocket" in handler:
            return await self._tcp(handler["tcpSocket"], timeout)
        if "exec" in handler:
            return await self._exec(handler["exec"]["command"], timeout)
        return False, f"missing probe handler in {sorted(handler)}"

    def _port(self, port: int | str) -> int:
        if isinstance(port, str):
            return self._ports[port] if port in self._ports else int(port)
        return port

    async def _http(self, get: Object, timeout: float) -> tuple[bool, str]:
        scheme = (get.get("scheme") or "HTTP").lower()
        path = get.get("path") or "/"
        try:
            port = self._port(get["port"])
        except ValueError:
            return False, f'couldn\'t find port: "{get["port"]}" in container'
        url = f"{scheme}://{get.get('host') or self._address}:{port}/{path.removeprefix('/')}"
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
        headers |= {header["name"]: header["value"] for header in get.get("httpHeaders") or []}
        try:
            async with self._session.get(
                url,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                ssl=False,
                max_redirects=10,
            ) as response:
                await response.content.read(BODY_LIMIT)
                if urlsplit(str(response.url)).hostname != urlsplit(url).hostname:
                    return True, "Probe terminated redirects"
                if 200 <= response.status < 400:
                    return True, ""
                return False, f"HTTP probe failed with statuscode: {response.status}"
        except TimeoutError:
            return False, (
                f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            )
        except aiohttp.ClientConnectorError as error:
            return False, f'Get "{url}": {_dial(self._address, port, error.os_error)}'
        except (aiohttp.ClientError, ConnectionError, ssl.SSLError) as error:
            return False, f'Get "{url}": EOF' if not str(error) else f'Get "{url}": {error}'

    async def _tcp(self, socket: Object, timeout: float) -> tuple[bool, str]:
        port = self._port(socket["port"])
        address = socket.get("host") or self._address
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), timeout)
        except TimeoutError:
            return False, f"dial tcp {address}:{port}: i/o timeout"
        except OSError as error:
            return False, _dial(address, port, error)
        writer.close()
        return True, ""

    async def _exec(self, command: Sequence[str], timeout: float) -> tuple[bool, str]:
        try:
            code, output = await self._execute(command, timeout)
        except TimeoutError:
            quoted = " ".join(command)
            return False, f'command timed out: "{quoted}" timed out after {timeout:g}s'
        except OSError as error:
            return False, f'exec: "{command[0]}": {error.strerror}'
        return code == 0, output


def _dial(address: str, port: int, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, ConnectionRefusedError) or "connect call failed" in reason:
        reason = "connection refused"
    return f"dial tcp {address}:{port}: connect: {reason}"


class ProbeLoop:
    """Runs one probe on its period and tells each change of verdict.

    `verdict` is None until the first threshold is reached. `failed` hears each single failure's words.
    """

    def __init__(
        self,
        spec: ProbeSpec,
        prober: Prober,
        *,
        changed: Callable[[bool], None],
        failed: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spec, self._prober = spec, prober
        self._changed, self._failed, self._sleep = changed, failed, sleep
        self.verdict: bool | None = None

    async def run(self, delay: float) -> None:
        """Probe for ever, first after `delay` seconds; end it by cancelling."""
        streak, last = 0, None
        await self._sleep(delay)
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            healthy, words = await self._prober.ask(self._spec.handler, self._spec.timeout)
            if not healthy:
                self._failed(words)
            streak = streak + 1 if healthy == last else 1
            last = healthy
            threshold = self._spec.success_threshold if healthy else self._spec.failure_threshold
            if streak >= threshold and self.verdict != healthy:
                self.verdict = healthy
                self._changed(healthy)
            await self._sleep(max(0.0, self._spec.period - (clock() - began)))
