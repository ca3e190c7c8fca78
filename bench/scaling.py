"""From load that one replica cannot carry to the second one's first answer, on a node that Karpenter makes, and back; and
requests to a model that sleeps, over its whole cold start.

    python -m bench.scaling [--json FILE]

Starts a sandbox, deploys tiny-llama with room for two replicas on nodes of one GPU, sends more requests at once than one
replica is meant for, and looks at the cluster until the second replica has answered; then ends the load and looks until its
node is gone. A phase ends at the look that sees it: LOOK_SECONDS are its uncertainty. Then the model is scaled to zero, and HELD
requests are sent to it, half of them streams.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tasks.cloud import karpenter, objects
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.prometheus import prometheus_of
from tasks.infra.task import read_infrastructure
from tasks.records import names
from tasks.records.catalogue import load_environment, load_model
from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.releases.task import ledger_of
from tests.support.held import Crowd
from tests.support.job_pool import IMAGE

PROJECT = Path(__file__).resolve().parents[1]
CATALOGUE = ("models", "environments", "k8s", "infra", "sandbox/charts", "sandbox/values")
ENVIRONMENT, MODEL = "sandbox", "tiny-llama"
CONSOLIDATE_SECONDS = 5
CALLERS, TOKENS = 8, 400
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 180.0
HELD, HELD_WITHIN_SECONDS, HEARTBEAT_SECONDS = 200, 8.0, 1.0
PROBED = 10  # answers that the start-up probe itself may have asked for
SLIPWAY = (sys.executable, "-c", "from flows.cli import main; main()")


def slipway(home: Path, *words: str) -> str:
    done = subprocess.run(
        [*SLIPWAY, *words], cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"slipway {' '.join(words)}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


def prepare(home: Path) -> None:
    """A copy of the catalogue in which Karpenter makes the nodes, and a model that scales early."""
    for part in CATALOGUE:
        shutil.copytree(PROJECT / part, home / part, ignore=shutil.ignore_patterns(".terraform"))

    def elastic(document: dict[str, Any]) -> None:
        document["cluster"]["gpu"] |= {
            "provisioner": "karpenter",
            "max": 2,
            "consolidate_after": f"{CONSOLIDATE_SECONDS}s",
        }
        document["gateway"]["holder"] = {"image": IMAGE, "heartbeat": HEARTBEAT_SECONDS, "ramp": "2s"}

    edit(home / "environments" / f"{ENVIRONMENT}.yaml", elastic)
    scaling: dict[str, Any] = {
        "min_replicas": 1,
        "max_replicas": 2,
        "requests_per_replica": 2,
        "cooldown": "5s",
    }
    scaling["scale_to_zero"] = True
    edit(home / "models" / f"{MODEL}.yaml", lambda document: document["scaling"].update(scaling))


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document, sort_keys=False))


@contextmanager
def sandbox(home: Path) -> Iterator[None]:
    """A sandbox in the folder, and its variables in this process."""
    command = [sys.executable, "-m", "slipway_sandbox"]
    root = home / ".sandbox"
    subprocess.run([*command, "up", "--detach", "--root", str(root)], check=True, cwd=home)
    try:
        for line in (root / "env").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            os.environ[name] = os.path.expandvars(shlex.split(value)[0]) if value else ""
        os.environ["SLIPWAY_HOME"] = str(home)
        yield
    finally:
        subprocess.run([*command, "down", "--root", str(root)], check=True, cwd=home)


@dataclass
class Seen:
    """What one look at the cluster saw, by the name of the phase that it ends."""

    cluster: Cluster
    environment: Environment
    model: Model
    first: str

    def second(self) -> dict[str, Any]:
        selector = names.serving_selector(self.model)
        pods = objects.staying(self.cluster.list("v1", "Pod", self.environment.namespace, selector))
        return next((pod for pod in pods if objects.name(pod) != self.first), {})

    def up(self) -> dict[str, bool]:
        name = names.workload(self.model)
        workload = self.cluster.get("apps/v1", "Deployment", name, self.environment.namespace)
        pod, claims = self.second(), karpenter.claims(self.cluster)
        nodes = objects.gpu_nodes(self.cluster, self.environment)
        return {
            "KEDA and its HPA ask for two replicas": objects.spec(workload).get("replicas") == 2,
            "the pod is there, and fits no node": bool(pod),
            "Karpenter makes a NodeClaim": len(claims) == 2,
            "EC2 has launched the instance": sum(objects.holds(claim, "Launched") for claim in claims) == 2,
            "the node is Ready": sum(map(objects.is_ready, nodes)) == 2,
            "its GPU is allocatable": sum(objects.gpus_allocatable(node) > 0 for node in nodes) == 2,
            "the pod has its node": bool(pod) and objects.node_of(pod) is not None,
            "the engine runs": bool(pod) and objects.running_since(pod) is not None,
            "the replica is Ready": objects.is_ready(pod),
            "it has answered": objects.is_ready(pod) and self.answers(pod) > PROBED,
        }

    def down(self) -> dict[str, bool]:
        name = names.workload(self.model)
        workload = self.cluster.get("apps/v1", "Deployment", name, self.environment.namespace)
        return {
            "KEDA and its HPA ask for one replica": objects.spec(workload).get("replicas") == 1,
            "one replica is left": objects.status(workload).get("replicas") == 1,
            "the node is gone": len(objects.gpu_nodes(self.cluster, self.environment)) == 1,
        }

    def answers(self, pod: Mapping[str, Any]) -> float:
        query = f'sum(vllm:request_success_total{{pod="{objects.name(pod)}"}})'
        found = prometheus_of(self.environment, self.cluster).instant(query)
        return found[0].samples[-1][1] if found else 0.0


def watch(look: Callable[[], dict[str, bool]]) -> dict[str, float]:
    """Seconds from now until each phase was first seen. Raises SystemExit where one does not come."""
    began, found = time.monotonic(), dict[str, float]()
    while True:
        seen = look()
        now = time.monotonic() - began
        found |= {phase: round(now, 2) for phase, true in seen.items() if true and phase not in found}
        if len(found) == len(seen):
            return found
        if now > PATIENCE_SECONDS:
            raise SystemExit(f"not within {PATIENCE_SECONDS:.0f} s: {sorted(set(seen) - set(found))}")
        time.sleep(LOOK_SECONDS)


@dataclass
class Load:
    """Callers who ask again as soon as they are answered."""

    url: str
    key: str
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def call(self) -> None:
        body = {"model": MODEL, "prompt": "Hello", "max_tokens": TOKENS, "ignore_eos": True}
        with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=60) as http:
            while not self._stop.is_set():
                try:
                    http.post(f"{self.url}/completions", json=body).raise_for_status()
                    self.answered += 1
                except httpx.HTTPError as error:
                    self.failures.append(f"{type(error).__name__}: {error}")

    @contextmanager
    def sent(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.call, daemon=True) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)


def measure(home: Path) -> dict[str, Any]:
    output = slipway(home, "deploy", MODEL, "-e", ENVIRONMENT)
    url = next(line.split()[1] for line in output.splitlines() if line.split()[:1] == ["endpoint"])
    environment, model = load_environment(ENVIRONMENT, home), load_model(MODEL, home)
    cluster = read_infrastructure.fn(environment).cluster()
    (pod,) = cluster.list("v1", "Pod", environment.namespace, names.serving_selector(model))
    seen = Seen(cluster, environment, model, objects.name(pod))
    load = Load(url, objects.read_key(cluster, environment.namespace, names.OWN_KEY_SECRET))
    with load.sent():
        up = watch(seen.up)
    down = watch(seen.down)
    held = hold(home, cluster, environment, model, Crowd(url, load.key, MODEL))
    return {"up_s": up, "down_s": down, "answered": load.answered, "failed": load.failures, "held": held}


def hold(
    home: Path, cluster: Cluster, environment: Environment, model: Model, crowd: Crowd
) -> dict[str, Any]:
    """Requests over the whole cold start of a model that sleeps, and what the holder and the ledger say of it."""
    name, namespace = names.workload(model), environment.namespace
    until = time.monotonic() + PATIENCE_SECONDS
    while objects.spec(cluster.get("apps/v1", "Deployment", name, namespace)).get("replicas"):
        if time.monotonic() > until:
            raise SystemExit(f"{MODEL} is not idle within {PATIENCE_SECONDS:.0f} s")
        slipway(home, "scale-down", MODEL, "-e", ENVIRONMENT)
    crowd.begin(HELD, HELD_WITHIN_SECONDS)
    asked = crowd.end()
    (pod,) = cluster.list("v1", "Pod", namespace, f"app={names.HOLDER}")
    log = cluster.logs(namespace, objects.name(pod), tail=None)
    slipway(home, "scale-down", MODEL, "-e", ENVIRONMENT)  # keeps the start in the ledger
    ledger = ledger_of(read_infrastructure.fn(environment), model)
    start = ledger.record(ledger.serving().serving or "").starts[-1]
    return {
        "requests": len(asked),
        "held": sum(bool(one.heartbeats) for one in asked),
        "lost": [one.wrong for one in asked if one.wrong],
        "longest_silence_s": round(max(one.silence for one in asked), 2),
        "wakes": log.count("woken for"),
        "first_token_s": [float(s) for s in re.findall(r"([\d.]+) s \(p95\)", log)],
        "objective_s": model.objectives.ttft.p95 if model.objectives.ttft else None,
        "start_s": {phase: round(took, 2) for phase, took in start.phases.items()},
    }


def steps(phases: Mapping[str, float]) -> Iterator[str]:
    before = 0.0
    for phase, at in sorted(phases.items(), key=lambda item: item[1]):
        yield f"{at:8.2f} s   +{at - before:6.2f} s   {phase}"
        before = at


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as scratch:
        home = Path(scratch)
        prepare(home)
        with sandbox(home):
            figures = measure(home)
    for title, phases in (("load begins", figures["up_s"]), ("load ends", figures["down_s"])):
        print(title)
        print("\n".join(steps(phases)))
    print(f"{figures['answered']} requests answered, {len(figures['failed'])} failed")
    held = figures["held"]
    print(
        f"asleep: {held['requests']} requests, {held['held']} held, {len(held['lost'])} lost, {held['wakes']} wake, longest "
        f"silence {held['longest_silence_s']} s at a heartbeat of {HEARTBEAT_SECONDS} s"
    )
    print(
        f"first token once a request went on, p95: {held['first_token_s']} s, objective {held['objective_s']} s"
    )
    print(", ".join(f"{phase} {took} s" for phase, took in held["start_s"].items()))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
