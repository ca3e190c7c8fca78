"""Prefect's server on Postgres and on SQLite: `slipway prefect apply` of a large catalogue, then scheduled runs.

    python -m bench.server [--minutes 10] [--models 100] [--environments 20] [--rates 2000,8000] [--json FILE]

For each database it registers models × environments twice, then offers each rate (runs an hour) by 20 deployments with an
interval schedule, whose runs a stand-in takes (bench/server/runs.py). `--minutes` is the time of all rates on all databases
together, without starts and applies. Postgres is Debian's package: apt-get install postgresql.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx

from bench.server.figures import LATE_SECONDS, delays, limit, requests, spread
from bench.server.platform import Database, Server, cpu_seconds, running, write_project

DEPLOYMENTS = 20
POOL = "bench"
# the server makes the first runs of a new schedule some seconds after it is told, and the runs' process loads Prefect
FIRST_SECONDS = 300.0
END_SECONDS = 60.0
LOOK_SECONDS = 1.0
# of a request: on SQLite one waits up to a minute for the database's lock
PATIENCE = 180.0
PAGE = 200
# a server on SQLite answers so where its database is locked, and its client asks again
BUSY, MOST_REPEATS, CONFLICT = 503, 30, 409
APPLY_SECONDS = 1800.0


def apply(server: Server) -> dict[str, float]:
    """Seconds of `slipway prefect apply` of everything, and of one that finds nothing to change."""
    found = {}
    for name in ("first", "unchanged"):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", "prefect", "apply"],
            env=server.environment(), cwd=server.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=APPLY_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"slipway prefect apply failed:\n{(done.stdout + done.stderr)[-3000:]}")
        found[name] = round(time.monotonic() - began, 1)
    return found


def asked(api: httpx.Client, path: str, body: Mapping[str, Any] | None, method: str = "POST") -> Any:
    """What the server answers, asked again as Prefect's client does where its database is busy. Raises HTTPStatusError."""
    answer = api.request(method, path, json=body)
    for _ in range(MOST_REPEATS):
        if answer.status_code != BUSY:
            break
        time.sleep(LOOK_SECONDS)
        answer = api.request(method, path, json=body)
    if answer.status_code != CONFLICT:  # a work pool that is there
        answer.raise_for_status()
    return answer.json() if answer.content else None


def offer(api: httpx.Client, rate: int) -> list[str]:
    """Deployments that together have `rate` runs an hour, evenly apart; their ids."""
    asked(api, "work_pools/", {"name": POOL, "type": "process"})
    flow = asked(api, "flows/", {"name": "bench-stand-in"})["id"]
    interval = DEPLOYMENTS * 3600.0 / rate
    began = datetime.now(UTC)
    made = []
    for number in range(DEPLOYMENTS):
        anchor = began + timedelta(seconds=number * interval / DEPLOYMENTS)
        schedule = {"interval": interval, "anchor_date": anchor.isoformat(), "timezone": "UTC"}
        body = {
            "name": f"rate-{rate}-{number}",
            "flow_id": flow,
            "work_pool_name": POOL,
            "entrypoint": "bench/server/runs.py:stand_in",
            "schedules": [{"schedule": schedule, "active": True}],
        }
        made.append(asked(api, "deployments/", body)["id"])
    return made


def measure(server: Server, rate: int, seconds: float) -> dict[str, Any]:
    """What a rate does for so many seconds, after its first runs have begun."""
    # the server closes connections that are idle
    fresh = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=f"{server.url}/", timeout=PATIENCE, limits=fresh) as api:
        made = offer(api, rate)
        runner = subprocess.Popen(
            [sys.executable, "-m", "bench.server.runs", POOL], env=server.environment(), stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=(server.folder / f"runs-{rate}.log").open("wb"),
        )  # fmt: skip
        try:
            wait_for_first(api, made)
            begun = datetime.now(UTC)
            log_at, clock = server.log.stat().st_size, time.monotonic()
            cpu, runs_cpu = server.cpu_seconds(), cpu_seconds(runner.pid)
            answers = probe(api, seconds)
            ended, wall = datetime.now(UTC), time.monotonic() - clock
            cpu, runs_cpu = server.cpu_seconds() - cpu, cpu_seconds(runner.pid) - runs_cpu
            with server.log.open("rb") as log:
                log.seek(log_at)
                told = requests(log.read().decode(errors="replace").splitlines())
            runs = runs_due(api, made, begun, ended)
        finally:
            end(runner)
        # at rest: on SQLite a delete waits for every writer
        for deployment in made:
            asked(api, f"deployments/{deployment}", None, "DELETE")
    waited = delays(runs, ended)
    began = sum(1 for run in runs if run["start_time"])
    if not runs:
        raise SystemExit(f"no run was due: {(server.folder / f'runs-{rate}.log').read_text()[-2000:]}")
    return {
        "rate": rate,
        "seconds": round(wall, 1),
        "runs": len(runs),
        "began": began,
        "late": sum(1 for delay in waited if delay > LATE_SECONDS),
        "delay_s": spread(waited),
        "requests_a_run": round(sum(told.values()) / max(began, 1), 1),
        "refused_requests": sum(count for (_, status), count in told.items() if status == BUSY),
        "failed_requests": sum(
            count for (_, status), count in told.items() if status >= 500 and status != BUSY
        ),
        "answer_ms": spread([1000 * answer for answer in answers]),
        "server_cores": round(cpu / wall, 3),
        "server_cpu_ms_a_run": round(1000 * cpu / max(began, 1), 1),
        "runner_cores": round(runs_cpu / wall, 3),
        "most_asked": {f"{path} {status}": count for (path, status), count in told.most_common(8)},
    }


def end(runner: subprocess.Popen[bytes]) -> None:
    """Let it end what it runs; one whose server is gone would wait for it."""
    try:
        runner.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        runner.kill()
        runner.wait()


def wait_for_first(api: httpx.Client, deployments: Sequence[str]) -> None:
    """Until a run has ended. Raises TimeoutError."""
    deadline = time.monotonic() + FIRST_SECONDS
    ended = {
        "deployments": {"id": {"any_": list(deployments)}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "limit": 1,
    }
    while not asked(api, "flow_runs/filter", ended):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no run ended within {FIRST_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def probe(api: httpx.Client, seconds: float) -> list[float]:
    """How many seconds the server takes for a page of deployments, asked every second."""
    found = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        api.post("deployments/filter?bench", json={"limit": 20}).raise_for_status()
        found.append(time.monotonic() - began)
        time.sleep(LOOK_SECONDS)
    return found


def runs_due(
    api: httpx.Client, deployments: Sequence[str], after: datetime, before: datetime
) -> list[Mapping[str, Any]]:
    """The runs of these deployments that were due in between."""
    found: list[Mapping[str, Any]] = []
    while True:
        wanted = {
            "deployments": {"id": {"any_": list(deployments)}},
            "flow_runs": {
                "expected_start_time": {"after_": after.isoformat(), "before_": before.isoformat()}
            },
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": PAGE,
            "offset": len(found),
        }
        page = asked(api, "flow_runs/filter", wanted)
        found += page
        if len(page) < PAGE:
            return found


def bench(
    database: Database, models: int, environments: int, rates: Sequence[int], seconds: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix=f"slipway-bench-{database}-") as scratch:
        folder = Path(scratch)
        write_project(folder / "project", models, environments)
        with running(database, folder) as server:
            applied = apply(server)
            print(
                f"{database}: {models} models × {environments} environments applied in {applied['first']} s, again in {applied['unchanged']} s",
                flush=True,
            )
            measured = []
            for rate in rates:
                measured.append(measure(server, rate, seconds))
                print(f"{database}: {line(measured[-1])}", flush=True)
    found = {"apply_s": applied, "rates": measured, "limit": limit(measured)}
    print(f"{database}: limit: {found['limit']}", flush=True)
    return found


def line(figures: Mapping[str, Any]) -> str:
    delay, answer = figures["delay_s"], figures["answer_ms"]
    return (
        f"{figures['rate']} an hour for {figures['seconds']:.0f} s: {figures['began']} of {figures['runs']} runs began, "
        f"{figures['late']} late, after due median {delay['median']:.2f} s, p95 {delay['p95']:.2f} s; "
        f"{figures['requests_a_run']} requests a run, "
        f"{figures['refused_requests']} refused and repeated, {figures['failed_requests']} failed; an answer "
        f"median {answer['median']:.0f} ms, p95 {answer['p95']:.0f} ms; server {figures['server_cpu_ms_a_run']:.0f} ms "
        f"of CPU a run, {figures['server_cores']:.2f} cores; runs {figures['runner_cores']:.2f} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.server", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--environments", type=int, default=20)
    parser.add_argument("--rates", default="2000,8000", help="runs an hour, one after the other")
    parser.add_argument("--only", choices=get_args(Database))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rates = [int(rate) for rate in given.rates.split(",")]
    databases: list[Database] = [given.only] if given.only else list(get_args(Database))
    seconds = 60 * given.minutes / len(rates) / len(databases)
    load = os.getloadavg()[0]
    found: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "load_before": round(load, 1),
            "python": machine.python_version(),
        }
    }
    print(f"{os.cpu_count()} cores, load {load:.1f} before", flush=True)
    for database in databases:
        found[database] = bench(database, given.models, given.environments, rates, seconds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
