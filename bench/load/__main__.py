"""How true the load generator is and what it costs, beside aiperf, guidellm and `vllm bench serve` in one run.

    python -m bench.load [--rounds 5] [--seconds 10] [--patience 90] [--only slipway,aiperf] [--json FILE]

One core for the client, one for the server. In each round every tool in turn: Poisson arrivals at 200/s of answers
whose first token comes truly after 50 ms and the others every 10 ms; then 64 callers against a server that paces
16 tokens at 1 ms. The truth is the server's own log. Ours is also asked for 256 callers. Peers are installed
from PyPI into .bench/, each into an environment of its own.

A run that fails or takes longer than its patience is said, counted (`failed_runs`) and left out; the others go on. The figures so far
are written after every round. `--only slipway-job` measures ours as the Job in the cluster runs it (a plain Python image). Five rounds of all three take about a quarter of an hour. Exit code 1 where a tool lacks a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import make_models

from bench.load.tools import PATIENCE, PROJECT, TOOLS, Ask, Told, Tool
from bench.load.truth import SOURCE, Truth, kolmogorov_smirnov, serving
from bench.programs import compiled

RATE, FIRST_MS, GAP_MS, TOKENS = 200.0, 50.0, 10.0, 16
PACED_FIRST_MS, PACED_GAP_MS = 1.0, 1.0
CALLERS, MANY_CALLERS = 64, 256
MANY_FIRST_MS, MANY_GAP_MS = 100.0, 10.0

EVERYBODYS = (
    "ttft_error_ms",
    "tpot_error_pct",
    "requests_per_second",
    "cpu_ms_per_request",
    "seconds_beyond_window",
)
OURS = ("concurrency_error_pct", "arrivals_ks")
GENERATORS = ("slipway", "slipway-job")  # from here, and as the Job in the cluster runs it

QUIET = 0.5  # load average of a machine that does nothing else

Figures = dict[str, dict[str, list[float]]]


def ms(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def note_open(figures: dict[str, list[float]], told: Told, truth: Truth, seconds: float) -> None:
    """Errors of what was reported against what the server wrote; milliseconds and percent."""
    ttft = [one.ttft for one in truth.requests]
    tpot = ms([one.tpot for one in truth.requests], 0.5)
    if told.ttft_p50 is not None and told.ttft_p99 is not None and told.tpot_p50 is not None:
        figures["ttft_error_ms.p50"].append(abs(told.ttft_p50 - ms(ttft, 0.50)))
        figures["ttft_error_ms.p99"].append(abs(told.ttft_p99 - ms(ttft, 0.99)))
        figures["tpot_error_pct"].append(100 * abs(told.tpot_p50 - tpot) / tpot)
    figures["seconds_beyond_window"].append(told.wall - seconds)
    figures["rate_seen"].append(truth.rate)


class Bench:
    """Tools in turn, against a server of their own each time."""

    def __init__(self, tools: list[Tool], seconds: float, patience: float, work: Path) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._client, self._server = cores[0], cores[-1]
        self._program = compiled(SOURCE, PROJECT / ".bench" / "timing-server")
        self._seconds, self._patience, self._work = seconds, patience, work
        self.tools = tools
        self.figures: Figures = {tool.name: defaultdict(list) for tool in tools}

    def round(self, number: int, of: int) -> None:
        for tool in self.tools:
            mine = self.figures[tool.name]
            loads = [
                self.open_loop,
                self.closed_loop,
                *([self.many_callers] if tool.name in GENERATORS else []),
            ]
            for load in loads:
                what = f"round {number + 1} of {of}: {tool.name}, {load.__name__.replace('_', ' ')}"
                began = time.monotonic()
                try:
                    load(tool, mine, number)
                except RuntimeError as error:
                    mine["failed_runs"].append(1.0)
                    print(f"{what}: FAILED: {error}", flush=True)
                else:
                    mine["failed_runs"].append(0.0)
                    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)

    def open_loop(self, tool: Tool, mine: dict[str, list[float]], number: int) -> None:
        told, truth = self._one(tool, f"open{number}", FIRST_MS, GAP_MS, rate=RATE)
        note_open(mine, told, truth, self._seconds)
        if tool.name in GENERATORS:
            distance, bound = kolmogorov_smirnov([served.arrival for served in truth.requests])
            mine["arrivals_ks"].append(distance)
            mine["arrivals_ks_bound"].append(bound)

    def closed_loop(self, tool: Tool, mine: dict[str, list[float]], number: int) -> None:
        told, truth = self._one(tool, f"closed{number}", PACED_FIRST_MS, PACED_GAP_MS, concurrency=CALLERS)
        mine["requests_per_second"].append(truth.rate)
        mine["cpu_ms_per_request"].append(1000 * told.cpu / len(truth.requests))

    def many_callers(self, tool: Tool, mine: dict[str, list[float]], number: int) -> None:
        _, truth = self._one(tool, f"many{number}", MANY_FIRST_MS, MANY_GAP_MS, concurrency=MANY_CALLERS)
        mine["concurrency_error_pct"].append(100 * abs(truth.at_once() - MANY_CALLERS) / MANY_CALLERS)

    def _one(self, tool: Tool, name: str, first: float, gap: float, **size: Any) -> tuple[Told, Truth]:
        log = self._work / "log"
        with serving(
            self._program, self._server, tokens=TOKENS, first_ms=first, gap_ms=gap, log=log
        ) as running:
            answer = (first + (TOKENS - 1) * gap) / 1000
            ask = Ask(url=running.url, seconds=self._seconds, tokens=TOKENS, answer_seconds=answer, **size)
            told = tool.run(ask, self._work / f"{tool.name}-{name}", self._client, self._patience)
            truth = running.truth()
        if len(truth.requests) < 2:
            raise RuntimeError(f"the server saw {len(truth.requests)} requests of {tool.name}")
        return told, truth


def summary(figures: Figures) -> dict[str, Any]:
    """Medians under their names, spreads under `spreads`."""
    found: dict[str, Any] = {}
    for tool, values in figures.items():
        middle = {name: statistics.median(each) for name, each in values.items()}
        entry: dict[str, Any] = {name: value for name, value in middle.items() if "." not in name}
        if "ttft_error_ms.p50" in middle:
            entry["ttft_error_ms"] = {p: middle[f"ttft_error_ms.{p}"] for p in ("p50", "p99")}
        if "arrivals_ks" in middle:
            within = [d <= b for d, b in zip(values["arrivals_ks"], values["arrivals_ks_bound"], strict=True)]
            entry["arrivals_ks"] = {
                "distance": middle["arrivals_ks"],
                "bound_5_percent": entry.pop("arrivals_ks_bound"),
                "rounds_within": sum(within),
                "rounds": len(within),
            }
        entry["failed_runs"] = sum(values["failed_runs"])
        entry["spreads"] = {name: [min(each), max(each)] for name, each in values.items()}
        found[tool] = entry
    return found


def table(figures: Figures) -> str:
    names = sorted({name for values in figures.values() for name in values})
    lines = [f"{'':<26}" + "".join(f"{tool:>30}" for tool in figures)]
    for name in names:
        cells = ""
        for values in figures.values():
            each = values.get(name)
            text = f"{statistics.median(each):.4g} ({min(each):.4g} to {max(each):.4g})" if each else "-"
            cells += f"{text:>30}"
        lines.append(f"{name:<26}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="each load's length")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds a run may take beyond its load"
    )
    parser.add_argument("--only", default="slipway,aiperf,guidellm", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        work = Path(folder)
        tokenizer = make_models(work / "hub") / "tiny-llama" / "main"
        tools = [TOOLS[name](PROJECT / ".bench", tokenizer) for name in given.only.split(",")]
        for tool in tools:
            tool.install()
        busy = os.getloadavg()[0]
        if busy > QUIET:
            print(f"load average {busy:.1f}: the figures will be of whatever else runs here too", flush=True)
        bench = Bench(tools, given.seconds, given.patience, work)
        for number in range(given.rounds):
            bench.round(number, given.rounds)
            if given.json:
                given.json.write_text(json.dumps(summary(bench.figures), indent=1) + "\n")
    print(table(bench.figures))
    if lacking := missing(summary(bench.figures)):
        sys.exit(f"not measured: {', '.join(lacking)}")


def missing(found: dict[str, Any]) -> list[str]:
    """Figures a tool should have and has not."""
    return [
        f"{tool} {name}"
        for tool, entry in found.items()
        for name in (*EVERYBODYS, *(OURS if tool in GENERATORS else ()))
        if name not in entry
    ]


if __name__ == "__main__":
    main()
