"""What the command line prints of a flow's result, and the exit code that goes with it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from flows.run.status_table import lines_of
from flows.run.whose import PARTS, line
from tasks.records.drills import Drilled
from tasks.records.errors import PreflightFailed, ValidationFailed
from tasks.records.keys import KeyChange, ShownKey
from tasks.records.questions import PATHS, curl
from tasks.records.reports import LoadReport, Sweep
from tasks.records.results import Endpoint, Feasibility, IdleDecision
from tasks.records.status import EnvironmentStatus
from tasks.records.watching import Watched
from tasks.releases.records import Deployed

DRIFTED = 5
Given = Mapping[str, Any]


class Outcome(NamedTuple):
    """Lines for the terminal, and what a person may do next."""

    lines: Sequence[str]
    exit_code: int = 0
    next_command: str = ""


def _at(given: Given) -> str:
    return f"{given['model']} in {given['environment']}"


def _with(given: Given, command: str) -> str:
    return f"slipway {command} {given['model']} -e {given['environment']}"


def proven(deployed: Deployed, given: Given) -> Outcome:
    """Of deploy and promote: figures, cost, page, endpoint, and the release before and after."""
    record = deployed.record
    lines = verdict(record.report) if record.report else []
    rows = [("cost", deployed.cost), ("cost of output", deployed.output_cost), ("page", deployed.page)]
    if record.rollout:
        rows.append(("endpoint", record.rollout.endpoint.base_url))
        rows.append(("record", record_of(record.rollout.endpoint)))
        rows.append(("release", f"{record.rollout.previous_release_id or 'nothing'} → {record.release.id}"))
    if record.weights and record.weights.why:
        rows.append(("weights", str(record.weights)))
    rows.append(("seconds", line(deployed.seconds)))
    lines += [f"  {name:<15}{value}" for name, value in rows if value]
    told = f"{_at(given)}: release {record.release.id} is proven"
    return Outcome([*lines, told], next_command=_with(given, "endpoint"))


def verdict(report: LoadReport) -> list[str]:
    """The load validation in two lines."""
    if not report.generates:
        return [
            f"  load validation: {report.verdict}: {report.succeeded} of {report.requests} requests to "
            f"/v1{PATHS[report.route]} at {report.achieved_rate:.1f}/s, "
            f"{report.prompt_tokens_per_second or 0:.0f} prompt tokens/s",
            f"    end to end p50 {report.e2e.p50 or 0:.0f} ms, p95 {report.e2e.p95 or 0:.0f} ms; "
            "output tokens: none",
        ]
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
    return Outcome(
        [f"{_at(given)}: {release or 'nothing'} serves"],
        next_command=f"slipway status -e {given['environment']}",
    )


def recovered(lines: Sequence[str], given: Given) -> Outcome:
    return Outcome(lines or ["no rollout is unfinished"])


def swept(sweep: Sweep, given: Given) -> Outcome:
    """Raises ValidationFailed where there is no knee."""
    if sweep.refused:
        seconds = 2 * given["step_seconds"]
        raise ValidationFailed(
            f"the knee of {_at(given)} cannot be told: {sweep.refused}",
            next_command=f"slipway sweep {given['model']} -e {given['environment']} --step-seconds {seconds:g}",
        )
    lines = [
        f"{_at(given)}: objectives hold up to {sweep.knee:.3g} requests a second",
        f"  scaling.requests_per_replica: {sweep.requests_per_replica}",
        f"  engine.max_num_seqs: {sweep.max_num_seqs}",
    ]
    if sweep.applied:
        lines.append(f"  release {sweep.applied} is proven with them; later deploys keep them")
        return Outcome(lines, next_command=f"slipway status -e {given['environment']}")
    return Outcome(lines, next_command=f"{_with(given, 'sweep')} --apply")


def scaled_down(decision: IdleDecision, given: Given) -> Outcome:
    if decision.act:
        return Outcome(
            [f"{_at(given)}: scaled to zero: {decision.reason}"], next_command=_with(given, "wake")
        )
    return Outcome([f"{_at(given)}: left: {decision.reason}"])


def woken(answer: str, given: Given) -> Outcome:
    return Outcome([f"{_at(given)} answers: {answer!r}"], next_command=_with(given, "endpoint"))


def woken_as_due(answers: Mapping[str, str], given: Given) -> Outcome:
    told = [f"{model} in {given['environment']} answers: {answer!r}" for model, answer in answers.items()]
    return Outcome(told or ["no model is due"], next_command=f"slipway status -e {given['environment']}")


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
    endpoint = result.endpoint
    options = by_load_balancer(endpoint, result.authority)
    first, *more = curl(endpoint.route, endpoint.served_name, endpoint.base_url, result.key_file, options)
    return Outcome(
        [
            f"  endpoint       {endpoint.base_url}",
            *(f"  record         {record}" for record in [record_of(endpoint)] if record),
            f"  try            {first}",
            *(f"{'':<17}{line}" for line in more),
        ]
    )


def record_of(endpoint: Endpoint) -> str:
    """The DNS record that TLS needs, which nobody makes here; empty without TLS."""
    if not endpoint.connect_to:
        return ""
    return f"{urlsplit(endpoint.base_url).hostname} CNAME {endpoint.connect_to}, or an alias of Route 53: yours to make"


def by_load_balancer(endpoint: Endpoint, authority: str) -> list[str]:
    """curl's options that ask the load balancer by its own name, whether or not the domain leads there yet."""
    if not endpoint.connect_to:
        return []
    url = urlsplit(endpoint.base_url)
    port = url.port or 443
    trusted = [f"--cacert {authority}"] if authority else []
    return [f"--connect-to {url.hostname}:{port}:{endpoint.connect_to}:{port}", *trusted]


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


def staged(result: Any, given: Given) -> Outcome:
    there = " (it was there)" if result.reused else ""
    return Outcome([f"{_at(given)}: staged{there}: {result.uri}"], next_command=_with(given, "deploy"))


def proven_again(reports: Mapping[str, LoadReport], given: Given) -> Outcome:
    """Of validate: the load of each model that serves."""
    lines: list[str] = []
    for model, report in reports.items():
        lines += [f"{model} in {given['environment']} is proven again", *verdict(report)]
    return Outcome(lines or [f"{given['environment']}: no model has a replica: nothing was proven"])


def judged_idle(decisions: Mapping[str, IdleDecision], given: Given) -> Outcome:
    """Of idle: what was decided on each model that serves."""
    lines = [
        f"{model} in {given['environment']}: {'scaled to zero' if one.act else 'left'}: {one.reason}"
        for model, one in decisions.items()
    ]
    return Outcome(lines or [f"{given['environment']}: nothing to judge"])


def looked_at(found: Sequence[EnvironmentStatus], given: Given) -> Outcome:
    """Of status: a table of each environment, and what it has no column for."""
    return Outcome([line for one in found for line in lines_of(one)])


def drilled(found: Mapping[str, Sequence[Drilled]], given: Given) -> Outcome:
    """Of drill: each promise of each model, with the states it went through."""
    lines: list[str] = []
    for model, results in found.items():
        for one in results:
            lines.append(
                f"{model} in {given['environment']}: {one.promise}: {one.outcome}{': ' * bool(one.cause)}{one.cause}"
            )
            lines += [f"  {step.seconds:6.1f} s  {step.what}" for step in one.steps]
            if one.next_command:
                lines.append(f"  next: {one.next_command}")
    return Outcome(
        lines or [f"{given['environment']}: no model has a replica: nothing was drilled"],
        next_command=f"slipway status -e {given['environment']}",
    )


def watched(found: Mapping[str, Watched], given: Given) -> Outcome:
    """A line for each commit that was decided about, and its reasons."""
    where, lines = given["environment"], []
    for model, one in found.items():
        release = f": release {one.release}" if one.release else ""
        known = {name: took for name, took in one.seconds.items() if name not in PARTS}
        seconds = ", ".join(f"{name} after {took:.1f} s" for name, took in known.items())
        lines += [f"{model} in {where}: {one.commit[:12]} {one.outcome}{release} ({seconds})"]
        lines += [f"  {reason}" for reason in one.reasons]
        lines += [f"  {spent}" for spent in (line(one.seconds),) if spent]
    return Outcome(
        lines or [f"{where}: no followed model has a commit to decide about"],
        next_command=f"slipway status -e {where}" if lines else "",
    )


def changed_key(change: KeyChange, given: Given) -> Outcome:
    """Of keys add and rotate: what the gateway does with the key now, and where its value is."""
    key, where = change.key, given["environment"]
    return Outcome(
        [
            f"key {key.name} of {where}: {describe(key)}",
            *_not_there(change, given),
            f"  its value is in Secrets Manager alone, in {change.secret}",
        ],
        next_command=f"slipway keys show {key.name} -e {where}",
    )


def revoked_key(change: KeyChange, given: Given) -> Outcome:
    return Outcome([f"key {change.key.name} of {given['environment']}: revoked", *_not_there(change, given)])


def _not_there(change: KeyChange, given: Given) -> list[str]:
    if change.at_the_gateway:
        return []
    return [f"  {given['environment']} has no gateway yet: the next deploy brings the keys there"]


def describe(key: ShownKey) -> str:
    """What a key opens, and how long."""
    models = ", ".join(key.models) or "every model"
    if key.requests_per_minute:
        models += f", {key.requests_per_minute:,} requests a minute"
    if key.expires is None:
        return f"opens {models}"
    word = {"valid": "until", "replaced": "rotated; the old value opens until", "expired": "EXPIRED"}[
        key.state
    ]
    return f"opens {models}; {word} {key.expires:%Y-%m-%d %H:%M:%S} UTC"


def listed_keys(keys: Sequence[ShownKey], given: Given) -> Outcome:
    """Of keys list: a line for each value."""
    lines = [f"{key.name:<24} {key.created:%Y-%m-%d}  {describe(key)}" for key in keys]
    return Outcome(lines or [f"{given['environment']}: no key; the first deploy makes Slipway's own"])


OUTCOMES: dict[str, Callable[[Any, Given], Outcome]] = {
    "deploy": proven,
    "promote": proven,
    "rollback": rolled_back,
    "recover": recovered,
    "sweep": swept,
    "scale_down": scaled_down,
    "wake": woken,
    "wake_due": woken_as_due,
    "teardown": torn_down,
    "drift": drifted,
    "endpoint": reachable,
    "render": rendered,
    "preflight": judged,
    "stage": staged,
    "validate": proven_again,
    "idle": judged_idle,
    "status": looked_at,
    "drill": drilled,
    "watch": watched,
    "evidence": lambda page, given: Outcome([page]),
    "keys_add": changed_key,
    "keys_rotate": changed_key,
    "keys_revoke": revoked_key,
    "keys_list": listed_keys,
    "keys_show": lambda value, given: Outcome([value]),
    "keys_sync": lambda valid, given: Outcome([f"{given['environment']}: the gateway takes {valid} keys"]),
}
