"""`python -m slipway_sandbox.images.vllm serve [MODEL] --flags`: serve as a vLLM pod on SLIPWAY_SANDBOX_POD_IP."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvloop
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.vllm import flags, logs, real
from slipway_sandbox.images.vllm.adapters import Adapter, load_adapters
from slipway_sandbox.images.vllm.engine import Engine
from slipway_sandbox.images.vllm.faulting import EngineFaults
from slipway_sandbox.images.vllm.gpu import GpuFile, Owner
from slipway_sandbox.images.vllm.parsing import Parsers
from slipway_sandbox.images.vllm.pooling import Pooling
from slipway_sandbox.images.vllm.server import Server, ServerOptions
from slipway_sandbox.images.vllm.serving import Completions
from slipway_sandbox.images.vllm.startup import (
    EngineCoreDied,
    Resolved,
    fingerprint,
    gpu_memory,
    resolve,
    start_engine,
)
from slipway_sandbox.settings import Settings

STATS_SECONDS: Final = 10.0  # VLLM_LOG_STATS_INTERVAL


class AdapterRefused(Exception):
    """A LoRA adapter cannot be served; `__cause__` is the error that ends the API server."""


def main() -> int:
    settings = Settings.from_environment()
    if settings.engine_program:
        real.become(settings.engine_program, sys.argv[1:], os.environ)
    try:
        args = flags.parse(sys.argv[1:])
    except (TypeError, ValueError) as error:
        logs.api_server_failed(error)
        return 1
    names = [
        *args.served_model_name,
        os.environ.get("SLIPWAY_SANDBOX_POD_NAME", os.environ.get("HOSTNAME", "")),
    ]
    faults = EngineFaults(Faults(settings.faults_file), names)
    with socket.socket() as sock:
        try:
            bind(sock, args.port)
            resolved = resolve(args, os.environ)
        except (ValueError, OSError, RuntimeError, BotoCoreError, ClientError) as error:
            logs.api_server_failed(error)
            return 1
        try:
            uvloop.run(serve(args, resolved, sock, settings, faults, os.environ))
        except EngineCoreDied as died:
            logs.engine_failed(died.__cause__ or died, args.tensor_parallel_size)
            return 1
        except AdapterRefused as refused:
            logs.api_server_failed(refused.__cause__ or refused)
            return 1
    return 0


def bind(sock: socket.socket, port: int) -> None:
    """Bind the port before the engine starts, so that a used port fails at once. It listens later."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((os.environ.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1"), port))


async def serve(
    args: argparse.Namespace,
    resolved: Resolved,
    sock: socket.socket,
    settings: Settings,
    faults: EngineFaults,
    environment: Mapping[str, str],
) -> None:
    gpu = gpu_file(args, environment)
    background = [asyncio.create_task(gpu.run())] if gpu else []
    try:
        engine, plan = await start_engine(args, resolved, settings.engine, faults, gpu)
        if gpu:
            gpu.follow(lambda: (engine.busy_seconds(), engine.running))
        if not args.disable_log_stats:
            background.append(asyncio.create_task(log_stats(engine)))
        # the length fitted to memory, if it was
        config = dataclasses.replace(resolved.config, max_model_len=plan.max_model_len)
        try:
            adapters = load_adapters(args, resolved.folder)
        except ValueError as refused:
            raise AdapterRefused from refused
        resolved = dataclasses.replace(resolved, config=config)
        server = make_server(args, resolved, engine, faults, environment, adapters)
        port = sock.getsockname()[1]
        logs.info("entry.py:140", f"Starting vLLM server on http://{args.host or '0.0.0.0'}:{port}")
        logs.uvicorn(f"Started server process [{os.getpid()}]")
        logs.uvicorn("Waiting for application startup.")
        await server.start(sock)
        logs.uvicorn("Application startup complete.")
        await _ended(server)
        logs.info("launcher.py:254", "[shutdown] API server: shutdown triggered")
        await server.stop()
        logs.uvicorn(f"Finished server process [{os.getpid()}]")
    finally:
        for task in background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if gpu:
            gpu.remove()


async def _ended(server: Server) -> None:
    """Wait for a signal, or for the engine's end."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, server.ended.set)
    await server.ended.wait()


def gpu_file(args: argparse.Namespace, environment: Mapping[str, str]) -> GpuFile | None:
    folder, owner = environment.get("SLIPWAY_SANDBOX_GPU_DIR"), Owner.from_environment(environment)
    if not folder or owner is None:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return GpuFile(Path(folder), owner, gpu_memory(environment), args.tensor_parallel_size)


def make_server(
    args: argparse.Namespace,
    resolved: Resolved,
    engine: Engine,
    faults: EngineFaults,
    environment: Mapping[str, str],
    adapters: Sequence[Adapter] = (),
) -> Server:
    names: list[str] = list(args.served_model_name)
    if faults.struck("engine-wrong-name"):
        names = [f"{name}-other" for name in names]
    completions = Completions(
        engine,
        faults,
        adapters={adapter.name: adapter.seed for adapter in adapters},
        served_names=names,
        max_model_len=resolved.config.max_model_len,
        fingerprint=fingerprint(args),
        seed=args.seed,
        force_usage=args.enable_force_include_usage,
        parsers=Parsers(
            tool=bool(args.tool_call_parser),
            auto=bool(args.enable_auto_tool_choice),
            reasoning=bool(args.reasoning_parser),
        ),
    )
    key = environment.get("VLLM_API_KEY")
    options = ServerOptions(
        served_names=names,
        root=args.model,
        max_model_len=resolved.config.max_model_len,
        api_keys=args.api_key or ([key] if key else []),
        request_id_headers=args.enable_request_id_headers,
        load_tracking=args.enable_server_load_tracking,
        access_log=not args.disable_uvicorn_access_log
        and args.uvicorn_log_level in ("info", "debug", "trace"),
        quiet_paths=tuple((args.disable_access_log_for_endpoints or "").split(",")),
        shutdown_timeout=float(args.shutdown_timeout),
        pools=resolved.config.pools,
        ranks=args.tensor_parallel_size,
        adapters={adapter.name: adapter.path for adapter in adapters},
    )
    pooling = Pooling(
        engine,
        faults,
        served_names=names,
        dimensions=resolved.config.hidden,
        encode=completions.encode,
    )
    return Server(engine, completions, pooling, faults, options)


async def log_stats(engine: Engine) -> None:
    """Log vLLM's statistics every ten seconds while requests run."""
    metrics = engine.metrics.counters
    before = (0.0, 0.0)
    while True:
        await asyncio.sleep(STATS_SECONDS)
        now = (metrics.get(("prompt_tokens", ""), 0.0), metrics.get(("generation_tokens", ""), 0.0))
        if now != before or engine.running:
            queries = metrics.get(("prefix_cache_queries", ""), 0.0)
            hits = metrics.get(("prefix_cache_hits", ""), 0.0) / queries if queries else 0.0
            logs.info(
                "loggers.py:310",
                f"Engine 000: Avg prompt throughput: {(now[0] - before[0]) / STATS_SECONDS:.1f} tokens/s, Avg "
                f"generation throughput: {(now[1] - before[1]) / STATS_SECONDS:.1f} tokens/s, Running: "
                f"{engine.running} reqs, Waiting: {engine.waiting} reqs, GPU KV cache usage: "
                f"{engine.kv_usage() * 100:.1f}%, Prefix cache hit rate: {hits * 100:.1f}%",
            )
        before = now


if __name__ == "__main__":
    sys.exit(main())
