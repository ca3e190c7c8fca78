"""What the command line prints of a flow's result, and the exit code that goes with it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from tasks.records.errors import PreflightFailed, ValidationFailed
from tasks.records.reports import LoadReport, Sweep
from tasks.records.results import Feasibility, IdleDecision
from tasks.releases.records import ReleaseRecord

DRIFTED = 5
Given = Mapping[str, Any]


class Outcome(NamedTuple):
    """Lines for the terminal."""

    lines: Sequence[str]
    exit_code: int = 0


def _at(given: Given) -> str:
    return f"{given['model']} in {given['environment']}"


def proven(record: ReleaseRecord, given: Given) -> Outcome:
    """Of deploy and promote."""
    report = verdict(record.report) if record.report else []
    return Outcome([*report, f"{_at(given)}: release {record.release.id} is proven"])


def verdict(report: LoadReport) -> list[str]:
    """The load validation in two lines."""
    ttft, tpot = report.ttft, report.tpot
    return [
        f"  load validation: {report.verdict}: {report.succeeded} of {report.requests} requests "
        f"at {report.achieved_rate:.1f}/s, {report.output_tokens_per_second:.0f} tokens/s",
        f"    first token p50 {ttft.p50 or 0:.0f} ms, p95 {ttft.p95 or 0:.0f} ms; "
        f"time per output token p50 {tpot.p50 or 0:.1f} ms, p95 {tpot.p95 or 0:.1f} ms",
    ]


def rolled_back(release: str | None, given: Given) -> Outcome:
    if given["unfinished"] and not release:
        return Outcome([f"{_at(given)}: nothing was put back"])
    return Outcome([f"{_at(given)}: {release or 'nothing'} serves"])


def swept(sweep: Sweep, given: Given) -> Outcome:
    """Raises ValidationFailed where there is no knee."""
    if sweep.refused:
        seconds = 2 * given["step_seconds"]
        raise ValidationFailed(
            f"the knee of {_at(given)} cannot be told: {sweep.refused}",
            next_command=f"slipway sweep {given['model']} -e {given['environment']} --step-seconds {seconds:g}",
        )
    return Outcome(
        [
            f"{_at(given)}: objectives hold up to {sweep.knee:.3g} requests a second",
            f"  scaling.requests_per_replica: {sweep.requests_per_replica}",
            f"  engine.max_num_seqs: {sweep.max_num_seqs}",
        ]
    )


def scaled_down(decision: IdleDecision, given: Given) -> Outcome:
    done = "scaled to zero" if decision.act else "left"
    return Outcome([f"{_at(given)}: {done}: {decision.reason}"])


def woken(answer: str, given: Given) -> Outcome:
    return Outcome([f"{_at(given)} answers: {answer!r}"])


def torn_down(result: Any, given: Given) -> Outcome:
    if result.remaining:
        return Outcome(["kept:", *result.remaining])
    return Outcome([f"{given['environment']}: nothing is left"])


def drifted(changes: Sequence[Mapping[str, str]], given: Given) -> Outcome:
    return Outcome(
        [
            *(f"{row['stack']:<8} {row['action']:<8} {row['resource']}" for row in changes),
            f"{given['environment']}: {len(changes)} resources differ",
        ],
        DRIFTED if changes else 0,
    )


def reachable(result: Any, given: Given) -> Outcome:
    """Of endpoint: the address, and a request to try with the key's file."""
    base = result.endpoint.base_url
    body = f'{{"model": "{given["model"]}", "max_tokens": 16, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return Outcome(
        [
            f"  endpoint       {base}",
            f"  try            curl -s {base}/chat/completions \\",
            f'                   -H "Authorization: Bearer $(cat {result.key_file})" \\',
            "                   -H 'Content-Type: application/json' \\",
            f"                   -d '{body}'",
        ]
    )


def rendered(documents: Sequence[Mapping[str, Any]], given: Given) -> Outcome:
    """One YAML stream, as `kubectl apply -f -` and `kubectl diff -f -` take it."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, allow_unicode=True)
    return Outcome([text.rstrip()])


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def judged(found: Feasibility, given: Given) -> Outcome:
    """Of preflight: the table, and with --explain the memory sum. Exit code 3 where a row fails."""
    lines = []
    for row in found.rows:
        lines.append(f"{row.status:<4}  {row.check:<13} {row.detail}")
        if row.next_command:
            lines.append(f"{'':<20}next: {row.next_command}")
    if given["explain"]:
        lines += ["", found.explanation or "config.json does not say enough to add up the memory"]
    failed = any(row.status == "fail" for row in found.rows)
    return Outcome(lines, PreflightFailed.exit_code if failed else 0)


OUTCOMES: dict[str, Callable[[Any, Given], Outcome]] = {
    "deploy": proven,
    "promote": proven,
    "rollback": rolled_back,
    "sweep": swept,
    "scale_down": scaled_down,
    "wake": woken,
    "teardown": torn_down,
    "drift": drifted,
    "endpoint": reachable,
    "render": rendered,
    "preflight": judged,
}
