"""Prove an endpoint: tell the load generator what to do, run it here in a process of its own, judge what it measured."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi

from tasks.cloud.plain_http import DIRECT, Way, at_url
from tasks.cloud.processes import run
from tasks.records.errors import ValidationFailed
from tasks.records.load import LengthDistribution, Load
from tasks.records.model import Model
from tasks.records.objectives import EachRequest
from tasks.records.progress import Reporter
from tasks.records.questions import GENERATING
from tasks.records.redacted import redacted
from tasks.records.reports import LoadReport, Measured, MeasureFrom
from tasks.records.results import Endpoint
from tasks.validation.judge import judged
from tasks.validation.load.instructions import Good, Instructions, Lengths, Segment, Trace
from tasks.validation.load.sources import GivenPrompt, TraceRow, read_sources

START_SECONDS = 60.0

# Raised when a definition in docs/measuring.md changes: figures from before are then not compared with those after.
# 2: time per output token ends with the last token, not with the last text
DEFINITIONS = 2


Generator = Callable[[Instructions], Measured]


def prove(
    model: Model, endpoint: Endpoint, key: str, reporter: Reporter, *, root: Path, way: Way = DIRECT
) -> LoadReport:
    """Put the load of the model's file on the endpoint from here and judge it. Files of the load are below `root`.

    Raises ToolFailed, ValidationFailed, InvalidDocument.
    """

    def generator(instructions: Instructions) -> Measured:
        return measure(instructions, key, reporter)

    at = at_url(endpoint.base_url, way)
    return prove_by(generator, model, at, reporter, root=root, measure_from="here")


def prove_by(
    generator: Generator,
    model: Model,
    at: Mapping[str, str],
    reporter: Reporter,
    *,
    root: Path,
    measure_from: MeasureFrom,
) -> LoadReport:
    """Put the load of the model's file on `at` by `generator`, which runs at `measure_from`, and judge it."""
    load = model.asked_load
    instructions = instructions_for(
        load,
        "",
        model.name,
        each=model.objectives.each,
        max_model_len=model.engine.max_model_len,
        root=root,
    )
    instructions = sent_to(instructions, at)
    reporter.say(f"{load}: {load.warmup:g} s warm-up, {load.window:g} s counted")
    report = judged(
        generator(instructions), load, model.objectives, profile=profile(model, root, measure_from)
    )
    return report.model_copy(update={"measured_from": measure_from})


def instructions_for(
    load: Load,
    base_url: str,
    served_name: str,
    *,
    each: EachRequest,
    max_model_len: int | None = None,
    root: Path = Path(),
) -> Instructions:
    """The generator's instructions for a load; chat where it names no endpoint. Pure."""
    route = load.endpoint or "chat"
    return Instructions(
        base_url=base_url,
        served_name=served_name,
        arrivals=load.arrivals,
        endpoint=route,
        streaming=load.streaming,
        seed=load.seed,
        warmup=load.warmup,
        window=load.window,
        drain=load.drain,
        stall=load.stall,
        prompt_tokens=_lengths(load.prompt_tokens),
        output_tokens=_lengths(load.output_tokens)
        if route in GENERATING
        else Lengths(0, minimum=0, maximum=0),
        segments=segments(load),
        concurrency=load.concurrency or 0,
        trace=Trace(load.trace.file, load.trace.speed, load.trace.start) if load.trace else None,
        prompts=load.prompts,
        texts=load.texts,
        good=Good(each.ttft, each.tpot, each.e2e),
        max_model_len=max_model_len,
        root=str(root),
    )


def sent_to(instructions: Instructions, at: Mapping[str, str]) -> Instructions:
    """The same load, sent to an address: base_url, connect_to and authority. Pure."""
    return replace(
        instructions, base_url=at["base_url"], connect_to=at["connect_to"], authority=at["authority"]
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
    return read_sources(instructions_for(model.asked_load, "", model.name, each=EachRequest(), root=root))


def _lengths(lengths: LengthDistribution) -> Lengths:
    return Lengths(lengths.mean, lengths.stdev, lengths.minimum, lengths.maximum)


def measure(instructions: Instructions, key: str, reporter: Reporter) -> Measured:
    """Run the generator here. Raises ToolFailed, ValidationFailed."""

    with tempfile.TemporaryDirectory(prefix="slipway-load-") as folder:
        file = Path(folder) / "instructions.json"
        file.write_text(instructions.write())
        finished = run(
            [sys.executable, "-m", "tasks.validation.load", str(file)],
            timeout=longest(instructions),
            on_line=progress_to(reporter),
            env={"SLIPWAY_API_KEY": key, **certificates()},
        )
    return read_measured(finished.stdout.splitlines(), finished.tail, key)


def longest(instructions: Instructions) -> float:
    """Seconds after which the generator has ended, or something is wrong with it."""
    return instructions.warmup + instructions.window + instructions.drain + START_SECONDS


def progress_to(reporter: Reporter) -> Callable[[str], None]:
    """Pass the generator's lines of progress on to `reporter`."""

    def hear(line: str) -> None:
        if line.startswith('{"progress"'):
            progress = json.loads(line)
            reporter.progress(progress["progress"], progress["of"], "requests")

    return hear


def certificates() -> dict[str, str]:
    """Variables that make TLS trust what httpx trusts: the environment's certificates, else certifi's."""
    given = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return {} if given else {"SSL_CERT_FILE": certifi.where()}


def read_measured(lines: Sequence[str], tail: Sequence[str], key: str) -> Measured:
    """The figures in the generator's last line, without secrets in a server's words.

    Raises ValidationFailed with `tail` as evidence where there are none.
    """
    try:
        document: dict[str, Any] = json.loads(lines[-1])["measured"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise ValidationFailed("the load generator ended without figures", evidence=tail) from None
    messages = {
        kind: redacted(message.replace(key, "…") if key else message)
        for kind, message in document["failure_messages"].items()
    }
    document["failure_messages"] = messages
    return Measured.model_validate(document)


def profile(model: Model, root: Path, measure_from: MeasureFrom = "here") -> str:
    """Twelve hexadecimal digits over what makes two runs comparable. Raises OSError.

    It covers the load, its files, the context length, the bounds on each request, the definitions and the way to the gateway.
    """
    load = model.asked_load
    # what came later is no part of it at its default: figures from before stay comparable
    added = {"texts"} if load.texts == 1 else None
    digest = hashlib.sha256(load.model_dump_json(exclude=added).encode())
    # lengths are cut to it
    digest.update(f"{model.engine.max_model_len}".encode())
    # goodput counts by them
    digest.update(model.objectives.each.model_dump_json().encode())
    digest.update(f"definitions {DEFINITIONS}".encode())
    # figures of earlier versions were measured from here, and their digests say nothing of it
    if measure_from != "here":
        digest.update(f"from {measure_from}".encode())
    for file in (load.trace.file if load.trace else None, load.prompts):
        if file:
            with (root / file).open("rb") as source:
                digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()[:12]
