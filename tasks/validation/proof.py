"""Prove an endpoint: run the load generator in a process of its own, read what it measured, judge it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import certifi

from tasks.cloud.processes import Finished, run
from tasks.records.errors import ValidationFailed
from tasks.records.model import LengthDistribution, Load, Model
from tasks.records.objectives import EachRequest
from tasks.records.progress import Reporter
from tasks.records.redacted import redacted
from tasks.records.reports import LoadReport, Measured
from tasks.records.results import Endpoint
from tasks.validation.judge import judged
from tasks.validation.load.instructions import Good, Instructions, Lengths, Segment, Trace
from tasks.validation.load.sources import GivenPrompt, TraceRow, read_sources

START_SECONDS = 60.0

# Raised when a definition in docs/measuring.md changes: figures from before are then not compared with those after.
# 2: time per output token ends with the last token, not with the last text
DEFINITIONS = 2


def prove(model: Model, endpoint: Endpoint, key: str, reporter: Reporter, *, root: Path) -> LoadReport:
    """Put the load of the model's file on the endpoint and judge it. Files of the load are below `root`.

    Raises ToolFailed, ValidationFailed, InvalidDocument.
    """
    load = model.load
    instructions = instructions_for(
        load,
        endpoint.base_url,
        endpoint.served_name,
        each=model.objectives.each,
        max_model_len=model.engine.max_model_len,
        root=root,
    )
    reporter.say(f"{load}: {load.warmup:g} s warm-up, {load.window:g} s counted")
    measured = measure(instructions, key, reporter)
    return judged(measured, load, model.objectives, profile=profile(model, root))


def instructions_for(
    load: Load,
    base_url: str,
    served_name: str,
    *,
    each: EachRequest,
    max_model_len: int | None = None,
    root: Path = Path(),
) -> Instructions:
    """The generator's instructions for a load. Pure."""
    return Instructions(
        base_url=base_url,
        served_name=served_name,
        arrivals=load.arrivals,
        endpoint=load.endpoint,
        streaming=load.streaming,
        seed=load.seed,
        warmup=load.warmup,
        window=load.window,
        drain=load.drain,
        stall=load.stall,
        prompt_tokens=_lengths(load.prompt_tokens),
        output_tokens=_lengths(load.output_tokens),
        segments=segments(load),
        concurrency=load.concurrency or 0,
        trace=Trace(load.trace.file, load.trace.speed, load.trace.start) if load.trace else None,
        prompts=load.prompts,
        good=Good(each.ttft, each.tpot, each.e2e),
        max_model_len=max_model_len,
        root=str(root),
    )


def segments(load: Load) -> tuple[Segment, ...]:
    """The rate of an open loop over time: the warm-up at the window's first rate, then the window."""
    if load.stages:
        window = tuple(Segment(stage.seconds, stage.rate, stage.rate) for stage in load.stages)
    elif load.rate is not None:
        window = (Segment(load.window, load.rate, load.ramp_to or load.rate),)
    else:
        return ()
    first = window[0].first_rate
    return (Segment(load.warmup, first, first), *window)


def sources(model: Model, root: Path) -> tuple[tuple[TraceRow, ...], tuple[GivenPrompt, ...]]:
    """Read the files of a model's load. Raises InvalidDocument with file and line."""
    return read_sources(instructions_for(model.load, "", model.name, each=EachRequest(), root=root))


def _lengths(lengths: LengthDistribution) -> Lengths:
    return Lengths(lengths.mean, lengths.stdev, lengths.minimum, lengths.maximum)


def measure(instructions: Instructions, key: str, reporter: Reporter) -> Measured:
    """Run the generator here. Raises ToolFailed, ValidationFailed."""

    def hear(line: str) -> None:
        if line.startswith('{"progress"'):
            progress = json.loads(line)
            reporter.progress(progress["progress"], progress["of"], "requests")

    with tempfile.TemporaryDirectory(prefix="slipway-load-") as folder:
        file = Path(folder) / "instructions.json"
        file.write_text(instructions.write())
        finished = run(
            [sys.executable, "-m", "tasks.validation.load", str(file)],
            timeout=instructions.warmup + instructions.window + instructions.drain + START_SECONDS,
            on_line=hear,
            env={"SLIPWAY_API_KEY": key, **certificates()},
        )
    return read_measured(finished, key)


def certificates() -> dict[str, str]:
    """Variables that make TLS trust what httpx trusts: the environment's certificates, else certifi's."""
    given = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return {} if given else {"SSL_CERT_FILE": certifi.where()}


def read_measured(finished: Finished, key: str) -> Measured:
    """The generator's last line, without secrets in a server's words. Raises ValidationFailed where there is none."""
    last = finished.stdout.strip().splitlines()[-1:] or [""]
    if not last[0].startswith('{"measured"'):
        raise ValidationFailed("the load generator ended without figures", evidence=finished.tail)
    document: dict[str, Any] = json.loads(last[0])["measured"]
    messages = {
        kind: redacted(message.replace(key, "…") if key else message)
        for kind, message in document["failure_messages"].items()
    }
    document["failure_messages"] = messages
    return Measured.model_validate(document)


def profile(model: Model, root: Path) -> str:
    """Twelve hexadecimal digits over what makes two runs comparable. Raises OSError.

    It covers the load, its files, the context length, the bounds on each request and the definitions.
    """
    load = model.load
    digest = hashlib.sha256(load.model_dump_json().encode())
    # lengths are cut to it
    digest.update(f"{model.engine.max_model_len}".encode())
    # goodput counts by them
    digest.update(model.objectives.each.model_dump_json().encode())
    digest.update(f"definitions {DEFINITIONS}".encode())
    for file in (load.trace.file if load.trace else None, load.prompts):
        if file:
            with (root / file).open("rb") as source:
                digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()[:12]
