"""Serve vLLM's HTTP API: routes, API key, access log, and both ways to shut down on SIGTERM."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from slipway_sandbox.images.vllm import VERSION, logs
from slipway_sandbox.images.vllm.engine import Engine, EngineStopped, QueueOverflow
from slipway_sandbox.images.vllm.faulting import EngineFaults
from slipway_sandbox.images.vllm.http_metrics import EXCLUDED, HttpMetrics
from slipway_sandbox.images.vllm.metrics import CONTENT_TYPE, process_page
from slipway_sandbox.images.vllm.pooling import (
    SCORE_ROUTES,
    EmbeddingRequest,
    Pooling,
    RerankRequest,
    ScoreRequest,
)
from slipway_sandbox.images.vllm.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Refusal,
    TokenizeRequest,
    busy,
    compact,
    internal,
    parse,
)
from slipway_sandbox.images.vllm.serving import DONE, Completions, event
from slipway_sandbox.images.vllm.text import TemplateRefused

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES: Final = 64 << 20  # bytes of a request body; vLLM has no limit
KEEP_ALIVE_SECONDS: Final = 5.0  # VLLM_HTTP_TIMEOUT_KEEP_ALIVE
# After the last stream a real server answers on while the engine's process is joined: 9.6 s were measured on the CPU
# build. The sandbox's clocks are shorter.
TEARDOWN_SECONDS: Final = 1.0
MAX_LINGER_SECONDS: Final = 3600.0  # frozen streams wait for their clients, as in vLLM, but not for ever


@dataclass(frozen=True)
class ServerOptions:
    served_names: Sequence[str]
    root: str
    max_model_len: int
    api_keys: Sequence[str]
    request_id_headers: bool
    load_tracking: bool
    access_log: bool
    quiet_paths: Sequence[str]
    shutdown_timeout: float
    pools: str = ""
    ranks: int = 1
    adapters: Mapping[str, str] = field(default_factory=dict)  # of LoRA: name -> path


class Server:
    """One vLLM server: `start` on a bound socket, `stop` on SIGTERM."""

    def __init__(
        self,
        engine: Engine,
        completions: Completions,
        pooling: Pooling,
        faults: EngineFaults,
        options: ServerOptions,
    ) -> None:
        self._engine, self._completions, self._faults, self._options = engine, completions, faults, options
        self._pooling = pooling
        self.ended = (
            asyncio.Event()
        )  # by a signal, or because the engine's processes are gone: with exit code 0 both
        self._dead = False
        self._http = HttpMetrics()
        self._created = int(time.time())
        self._server_load = 0
        self._routes: dict[str, tuple[str, Answer]] = {
            "/health": ("GET", self._health),
            "/ping": ("GET", self._health),
            "/version": ("GET", self._version),
            "/load": ("GET", self._load),
            "/metrics": ("GET", self._metrics),
            "/v1/models": ("GET", self._models),
            **self._of_the_task(),
            "/tokenize": ("POST", self._tokenize),
            "/detokenize": ("POST", self._detokenize),
        }

    def _of_the_task(self) -> dict[str, tuple[str, Answer]]:
        """A pooling model has no routes of text, and another none of vectors: `register_pooling_api_routers`."""
        pools = self._options.pools
        if not pools:
            return {
                "/v1/chat/completions": ("POST", self._chat),
                "/v1/completions": ("POST", self._complete),
            }
        embeds: dict[str, tuple[str, Answer]] = {"/v1/embeddings": ("POST", self._embed)}
        return (embeds if pools == "embed" else {}) | {
            path: ("POST", self._rerank if path.endswith("rerank") else self._score) for path in SCORE_ROUTES
        }

    async def start(self, sock: socket.socket) -> None:
        def make_request(
            message: Any, payload: Any, protocol: Any, writer: Any, task: Any
        ) -> web.BaseRequest:
            loop = asyncio.get_running_loop()
            return web.BaseRequest(
                message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
            )

        self._server = web.Server(
            self._handle,
            request_factory=make_request,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,
        )
        self._runner = web.ServerRunner(self._server)
        await self._runner.setup()
        self._site = web.SockSite(self._runner, sock, backlog=2048)
        await self._site.start()

    async def stop(self) -> None:
        """Drain or abort, as `--shutdown-timeout` says, then wait for connections to close."""
        timeout = 0.0 if self._dead else self._options.shutdown_timeout
        mode = "drain" if timeout else "abort"
        logs.info(
            "launcher.py:270",
            f"[shutdown] API server: stopping engine client mode={mode} timeout={timeout:g}s",
        )
        if timeout:
            await self._drain(timeout)
        self._engine.freeze()
        logs.info("launcher.py:279", "[shutdown] API server: signalling HTTP server shutdown")
        await self._site.stop()
        logs.uvicorn("Shutting down")
        deadline = time.monotonic() + MAX_LINGER_SECONDS
        # aiohttp has no callback for a closed connection
        while self._server.connections and time.monotonic() < deadline:
            for connection in self._server.connections:
                if connection._current_request is None:  # idle, as uvicorn closes them; streams stay, silent
                    connection.force_close()
            await asyncio.sleep(0.05)
        await self._runner.cleanup()

    async def _drain(self, timeout: float) -> None:
        count = self._engine.running + self._engine.waiting
        if count:
            text = f"[shutdown] EngineCore: draining in-flight requests count={count} timeout={timeout:g}s"
            logs.info("core.py:1657", text, logs.CORE)
        if await self._engine.drain(timeout):
            await asyncio.sleep(TEARDOWN_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        path = request.path
        method, answer = self._routes.get(path, ("", self._not_found))
        handler = path if method == request.method else "none"
        response: web.StreamResponse
        if path.startswith("/v1") and not self._authorised(request):
            response = web.Response(
                body=compact({"error": "Unauthorized"}), status=401, content_type="application/json"
            )
            self._finish_headers(request, response, cors=False)
        elif method and method != request.method:
            response = _json({"detail": "Method Not Allowed"}, status=405)
            response.headers["Allow"] = method
            self._finish_headers(request, response)
        else:
            response = await self._answered(request, answer)
        if path not in EXCLUDED:
            seconds = time.perf_counter() - started
            sent = response.content_length or 0
            self._http.record(
                handler, request.method, response.status, seconds, request.content_length or 0, sent
            )
        if self._options.access_log and path not in self._options.quiet_paths:
            _log_access(request, response.status)
        return response

    async def _answered(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        try:
            response = await answer(request)
        except Refusal as error:
            response = web.Response(body=error.body, status=error.code, content_type="application/json")
        if not response.prepared:
            self._finish_headers(request, response)
        return response

    def _authorised(self, request: web.BaseRequest) -> bool:
        if not self._options.api_keys or request.method == "OPTIONS":
            return True
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = key.encode()
        return scheme.lower() == "bearer" and any(
            secrets.compare_digest(given, known.encode()) for known in self._options.api_keys
        )

    def _finish_headers(
        self, request: web.BaseRequest, response: web.StreamResponse, *, cors: bool = True
    ) -> None:
        response.headers["Server"] = "uvicorn"
        if cors:
            response.headers["Vary"] = "Origin"
        if self._options.request_id_headers:
            response.headers["X-Request-Id"] = request.headers.get("X-Request-Id") or secrets.token_hex(16)

    async def _not_found(self, _: web.BaseRequest) -> web.Response:
        return _json({"detail": "Not Found"}, status=404)

    async def _health(self, _: web.BaseRequest) -> web.Response:
        response = web.Response(status=200)
        response.headers.popall("Content-Type", None)
        return response

    async def _version(self, _: web.BaseRequest) -> web.Response:
        return _json({"version": VERSION})

    async def _load(self, _: web.BaseRequest) -> web.Response:
        return _json({"server_load": self._server_load})

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        self._engine.refresh_gauges()
        lines = [*process_page(), *self._engine.metrics.page(), *self._http.page(), ""]
        return web.Response(body="\n".join(lines).encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, _: web.BaseRequest) -> web.Response:
        now = int(time.time())
        options = self._options
        own = {"root": options.root, "parent": None, "max_model_len": options.max_model_len}
        cards = [self._card(name, now, own) for name in options.served_names]
        for name, path in options.adapters.items():
            of = {"root": path, "parent": options.served_names[0], "max_model_len": None}
            cards.append(self._card(name, now, of))
        return _json({"object": "list", "data": cards})

    @staticmethod
    def _card(name: str, now: int, of: Mapping[str, Any]) -> dict[str, Any]:
        permission = {
            "id": f"modelperm-{secrets.token_hex(8)}",
            "object": "model_permission",
            "created": now,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        return {
            "id": name,
            "object": "model",
            "created": now,
            "owned_by": "vllm",
            **of,
            "permission": [permission],
        }

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, await parse(request, ChatRequest))

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._generate(request, await parse(request, CompletionRequest))

    async def _embed(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await parse(request, EmbeddingRequest)
        return await self._pool(lambda: self._pooling.embeddings(asked))

    async def _score(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await parse(request, ScoreRequest)
        return await self._pool(lambda: self._pooling.score(asked))

    async def _rerank(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await parse(request, RerankRequest)
        return await self._pool(lambda: self._pooling.rerank(asked))

    async def _pool(self, answer: Callable[[], Awaitable[bytes]]) -> web.StreamResponse:
        self._server_load += self._options.load_tracking
        try:
            if self._faults.struck("engine-500"):
                raise internal("Internal Server Error")
            self._engine.check_admission(1)
            return web.Response(body=await answer(), content_type="application/json")
        except EngineStopped as error:
            raise internal(str(error)) from error
        except QueueOverflow as error:
            raise busy(str(error)) from error
        finally:
            self._server_load -= self._options.load_tracking

    async def _generate(
        self, request: web.BaseRequest, asked: ChatRequest | CompletionRequest
    ) -> web.StreamResponse:
        if self._options.ranks > 1 and (killed := self._faults.struck("engine-rank-killed")):
            logs.rank_killed(int(killed.value or 0))
            self._engine.freeze()
            self._dead = True
            self.ended.set()
        if self._dead:
            raise internal(logs.ENGINE_DEAD)
        if self._faults.struck("engine-500"):
            raise internal("Internal Server Error")
        job = self._completions.prepare(asked, request.headers.get("X-Request-Id"))
        self._server_load += self._options.load_tracking
        try:
            try:
                self._engine.check_admission(job.choices)
            except EngineStopped as error:
                raise internal(str(error)) from error
            except QueueOverflow as error:
                refusal = busy(str(error))
                if not asked.stream:
                    raise refusal from error
                # a stream's headers are sent before the engine is asked
                response = await self._open_stream(request)
                await response.write(event(refusal.document) + DONE)
                return response
            if not asked.stream:
                return web.Response(body=await self._completions.whole(job), content_type="application/json")
            response = await self._open_stream(request)
            await self._completions.stream(job, response)
            return response
        finally:
            self._server_load -= self._options.load_tracking

    async def _open_stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        self._finish_headers(request, response)
        await response.prepare(request)
        return response

    async def _tokenize(self, request: web.BaseRequest) -> web.Response:
        asked = await parse(request, TokenizeRequest)
        self._completions.check_model(asked.model)
        text = self._engine.text
        if asked.messages is not None:
            try:
                rendered = text.render(asked.messages, generation_prompt=asked.add_generation_prompt)
            except TemplateRefused as error:
                raise Refusal(str(error)) from error
            ids = text.encode(rendered, special=bool(asked.add_special_tokens))
        else:
            ids = text.encode(asked.prompt or "", special=asked.add_special_tokens is not False)
        names = [text.tokenizer.id_to_token(i) for i in ids] if asked.return_token_strs else None
        length = self._options.max_model_len
        return _json({"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": names})

    async def _detokenize(self, request: web.BaseRequest) -> web.Response:
        asked = await parse(request, DetokenizeRequest)
        self._completions.check_model(asked.model)
        return _json({"prompt": self._engine.text.decode(asked.tokens)})


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=compact(document), status=status, content_type="application/json")


def _log_access(request: web.BaseRequest, status: int) -> None:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    client = f"{peer[0]}:{peer[1]}" if peer else "-"
    reason = web.Response(status=status).reason
    print(
        f'{"INFO:":<10}{client} - "{request.method} {request.path_qs} HTTP/1.1" {status} {reason}', flush=True
    )
