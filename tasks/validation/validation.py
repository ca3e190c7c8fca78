"""Prove an endpoint: run the generator in its own process, read its report, say it in a table."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from tasks.cloud.processes import run
from tasks.records.errors import ValidationFailed
from tasks.records.model import Model
from tasks.records.objectives import LATENCIES
from tasks.records.progress import Reporter
from tasks.records.results import Distribution, Endpoint, LoadReport
from tasks.validation.generator import Job
from tasks.validation.measure import describe

START_SECONDS = 60.0


def prove(model: Model, endpoint: Endpoint, key: str, reporter: Reporter, *, root: Path) -> LoadReport:
    """The load of the model's file against the endpoint; its report. Files of the load are below `root`.

    Raises ToolFailed, ValidationFailed, InvalidDocument.
    """
    load = model.load
    job = Job(
        base_url=endpoint.base_url,
        served_name=endpoint.served_name,
        load=load,
        objectives=model.objectives,
        max_model_len=model.engine.max_model_len,
        root=str(root),
    )
    reporter.say(f"{load}: {load.warmup:g} s warm-up, {load.window:g} s counted")

    def hear(line: str) -> None:
        if line.startswith('{"progress"'):
            told = json.loads(line)
            reporter.progress(told["progress"], told["of"], "requests")

    with tempfile.TemporaryDirectory(prefix="slipway-load-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(job.model_dump_json())
        finished = run(
            [sys.executable, "-m", "tasks.validation.generator", str(file)],
            timeout=load.warmup + load.window + load.drain + START_SECONDS,
            on_line=hear,
            env={"SLIPWAY_API_KEY": key},
        )
    last = finished.stdout.strip().splitlines()[-1]
    if not last.startswith('{"report"'):
        raise ValidationFailed("the load generator ended without a report", evidence=finished.tail)
    found = LoadReport.model_validate(json.loads(last)["report"])
    return found.model_copy(update={"profile": profile(model, root)})


def profile(model: Model, root: Path) -> str:
    """Twelve hexadecimal digits over all that makes the load what it is, its files' bytes too. Raises OSError."""
    load = model.load
    digest = hashlib.sha256(load.model_dump_json().encode())
    digest.update(f"{model.engine.max_model_len}".encode())  # lengths are cut to it
    for file in (load.trace.file if load.trace else None, load.prompts):
        if file:
            with (root / file).open("rb") as source:
                digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()[:12]


def tell(found: LoadReport, reporter: Reporter) -> None:
    """The verdict and what decided it, a line each."""
    reporter.say(f"{found.verdict}: {found.reasons[0]}")
    for result in found.objectives:
        reporter.say(f"{'holds ' if result.holds else 'BROKEN'} {describe(result)}")
    if found.comparison:
        reporter.say(found.comparison.why)
    if found.cut_to_context:
        reporter.say(f"{found.cut_to_context} requests were cut to what the model can take")


def table(found: LoadReport) -> list[dict[str, str]]:
    """Rows for a table artifact: what was asked, then what was measured."""
    rows = [
        {
            "what": f"objective {r.name}",
            "value": describe(r).removeprefix(f"{r.name}: "),
            "": "holds" if r.holds else "BROKEN",
        }
        for r in found.objectives
    ]
    rows += [{"what": f"{name} (ms)", "value": _figures(found.latency(name)), "": ""} for name in LATENCIES]
    rows.append({"what": "send lateness (ms)", "value": _figures(found.send_lateness), "": ""})
    rows += [
        {
            "what": "requests",
            "value": f"{found.succeeded} of {found.requests} succeeded",
            "": str(found.failures or ""),
        },
        {"what": "rate", "value": _rate(found), "": ""},
        {"what": "output tokens", "value": f"{found.output_tokens_per_second:.0f}/s", "": ""},
    ]
    if found.goodput is not None:
        rows.append({"what": "goodput", "value": f"{found.goodput:.1%}", "": ""})
    return rows


def _rate(found: LoadReport) -> str:
    offered = f" of {found.offered_rate:g}/s" if found.offered_rate is not None else ""
    return f"{found.achieved_rate:.1f}/s{offered}"


def _figures(found: Distribution) -> str:
    if found.p50 is None or found.p95 is None or found.p99 is None:
        return "none"
    return f"p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}"
