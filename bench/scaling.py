"""From load that one replica cannot carry to the second one's first answer, on a node that Karpenter makes, and back; and
requests to a model that sleeps, over its whole cold start.

    python -m bench.scaling [--json FILE]

Starts a sandbox, deploys tiny-llama with room for two replicas on nodes of one GPU, asks it more than one replica is meant for,
and looks at the cluster until the second replica has answered; then ends the load and looks until its node is gone. A phase ends
at the look that sees it: LOOK_SECONDS and the look itself are its uncertainty. Then the model is scaled to zero, and HELD requests
are sent to it, half of them streams.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_sandbox.testing import EngineTiming, start

from tasks.cloud import karpenter, objects
from tasks.cloud.prometheus import prometheus_of
from tasks.drill.observe import Place
from tasks.infra.task import read_infrastructure
from tasks.records import names
from tasks.records.catalogue import load_environment, load_model
from tasks.releases.records import ReleaseRecord
from tasks.releases.task import ledger_of
from tasks.rollout.start_phases import start_phases
from tasks.rollout.start_report import timed_log
from tests.support.callers import calling
from tests.support.held import Crowd
from tests.support.job_pool import IMAGE
from tests.support.project import ENVIRONMENT, Project, a_project, edit

MODEL = "tiny-llama"
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 180.0
HELD, HELD_WITHIN_SECONDS, HEARTBEAT_SECONDS = 200, 8.0, 1.0
PROBED = 10  # answers that the start-up probe itself may have asked for
ASKED, PLACED, RUNS = "KEDA and its HPA ask for two replicas", "the pod has its node", "the engine runs"
READY, SENT = "the replica is Ready", "the Service sends to it"
# settings of the sandbox, no figures of the product: a node boots in the one, an engine loads and compiles in the other
NODE_SECONDS, ENGINE = 1.5, EngineTiming(load_seconds=0.8, compile_seconds=0.3, inter_token_seconds=0.008)
LOAD_SECONDS = ENGINE.load_seconds + ENGINE.compile_seconds
SPEEDS = {"node_boot_seconds": NODE_SECONDS, "engine": ENGINE}
# two long answers of slow tokens are under way at any time: demand for two replicas that costs little of this machine
REQUESTS_PER_REPLICA, RATE = 1, 4.0


def prepare(home: Path) -> None:
    """Karpenter makes the nodes, and the model scales early."""
    environment = home / "environments" / f"{ENVIRONMENT}.yaml"
    gpu = {"provisioner": "karpenter", "max": 2, "consolidate_after": "5s"}
    edit(environment, {"cluster": {"gpu": gpu | {"instance_type": "g5.2xlarge"}}})
    edit(environment, {"gateway": {"holder": {"image": IMAGE, "heartbeat": HEARTBEAT_SECONDS, "ramp": "2s"}}})
    scaling = {"min_replicas": 1, "max_replicas": 2, "cooldown": "5s"}
    scaling |= {"requests_per_replica": REQUESTS_PER_REPLICA}
    edit(home / "models" / f"{MODEL}.yaml", {"scaling": scaling | {"scale_to_zero": True}})


@dataclass(frozen=True)
class Looks:
    """What one look at the cluster sees, by the name of the phase that it ends. `first`: the replica that serves."""

    place: Place
    first: str

    def start(self) -> dict[str, float]:
        """Seconds of the second replica's start by the phases of tasks/records/starts.py, while its pod is there."""
        cluster, space = self.place.cluster, self.place.namespace
        (pod,) = [one for one in self.place.look(0.0).pods if objects.name(one) != self.first]
        events = [
            event
            for event in cluster.list("v1", "Event", space)
            if event["involvedObject"].get("name") == objects.name(pod)
        ]
        return start_phases(pod, events, timed_log(cluster, pod))

    def up(self) -> dict[str, bool]:
        seen, cluster = self.place.look(0.0), self.place.cluster
        pod = next((pod for pod in seen.pods if objects.name(pod) != self.first), {})
        name, claims = objects.name(pod) if pod else "", karpenter.claims(cluster)
        nodes = objects.gpu_nodes(cluster, self.place.environment)
        return {
            ASKED: seen.wanted == 2,
            "the pod is there, and fits no node": bool(pod),
            "Karpenter makes a NodeClaim": len(claims) == 2,
            "EC2 has launched the instance": sum(objects.holds(claim, "Launched") for claim in claims) == 2,
            "the node is Ready": sum(map(objects.is_ready, nodes)) == 2,
            "its GPU is allocatable": sum(objects.gpus_allocatable(node) > 0 for node in nodes) == 2,
            PLACED: bool(pod) and objects.node_of(pod) is not None,
            RUNS: bool(pod) and objects.running_since(pod) is not None,
            READY: objects.is_ready(pod),
            SENT: name in seen.in_service,
            "Prometheus has its answers": name in seen.in_service and seen.answered.get(name, 0.0) > PROBED,
        }

    def down(self) -> dict[str, bool]:
        seen = self.place.look(0.0)
        return {
            "KEDA and its HPA ask for one replica": seen.wanted == 1,
            "one replica is left": len(seen.pods) == 1,
            "the node is gone": len(seen.nodes) == 1,
        }


def watch(began: float, look: Callable[[], dict[str, bool]]) -> dict[str, float]:
    """Seconds from `began` until each phase was first seen. Raises SystemExit where one does not come."""
    found = dict[str, float]()
    while True:
        seen = look()
        now = time.monotonic() - began
        found |= {phase: round(now, 2) for phase, true in seen.items() if true and phase not in found}
        if len(found) == len(seen):
            return found
        if now > PATIENCE_SECONDS:
            raise SystemExit(f"not within {PATIENCE_SECONDS:.0f} s: {sorted(set(seen) - set(found))}")
        time.sleep(LOOK_SECONDS)


def measure(project: Project) -> dict[str, Any]:
    os.environ.update(project.environment)
    output = project.run("deploy", MODEL, "-e", ENVIRONMENT).succeeded().output
    url = next(line.split()[1] for line in output.splitlines() if line.split()[:1] == ["endpoint"])
    environment, model = load_environment(ENVIRONMENT, project.home), load_model(MODEL, project.home)
    cluster = read_infrastructure.fn(environment).cluster()
    place = Place(
        cluster, prometheus_of(environment, cluster), environment, model, serving(project).documents
    )
    (pod,) = place.look(0.0).pods
    looks, key = (
        Looks(place, objects.name(pod)),
        objects.read_key(cluster, environment.namespace, names.OWN_KEY_SECRET),
    )
    began = time.monotonic()
    with calling(url, key, MODEL, rate=RATE) as callers:
        up = watch(began, looks.up)
        start_s = looks.start()
    down = watch(time.monotonic(), looks.down)
    held = hold(project, place, Crowd(url, key, MODEL))
    return {
        "up_s": up,
        "down_s": down,
        "answered": len(callers.answers) - len(callers.failures),
        "failed": callers.failures,
        "start_s": start_s,
        "spent_s": spent(up, start_s),
        "held": held,
    }


def spent(up: Mapping[str, float], start_s: Mapping[str, float]) -> dict[str, float]:
    """What of the time until the Service sends to the second replica was whose. Pure.

    Slipway runs nothing meanwhile. Its own is what its manifests make the others wait: from the engine's server to the startup
    probe's answer, and from there to Ready and the Service. The rest is the sandbox's stand-ins, each a process of Python.
    """
    own = start_s.get("first answer", 0.0) + start_s.get("ready", 0.0) + up[SENT] - up[READY]
    parts = {
        "KEDA's polling and its HPA's look": up[ASKED],
        "the node, of the sandbox's settings": NODE_SECONDS,
        "the node besides: Karpenter, EC2, kubelet, device plugin, claim, scheduler": up[PLACED]
        - up[ASKED]
        - NODE_SECONDS,
        "volume, image and process of the container": up[RUNS] - up[PLACED],
        "weights and compilation, of the sandbox's settings": LOAD_SECONDS,
        "the engine besides: its imports": up[SENT] - up[RUNS] - LOAD_SECONDS - own,
        "Slipway's: probe, Ready, Service": own,
    }
    return {"whole": up[SENT], **{whose: round(took, 2) for whose, took in parts.items()}}


def serving(project: Project) -> ReleaseRecord:
    """The release that serves, as the ledger has it."""
    environment, model = load_environment(ENVIRONMENT, project.home), load_model(MODEL, project.home)
    ledger = ledger_of(read_infrastructure.fn(environment), model)
    return ledger.record(ledger.serving().serving or "")


def hold(project: Project, place: Place, crowd: Crowd) -> dict[str, Any]:
    """Requests over the whole cold start of a model that sleeps, and what the holder and the ledger say of it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while place.look(0.0).wanted:
        if time.monotonic() > until:
            raise SystemExit(f"{MODEL} is not idle within {PATIENCE_SECONDS:.0f} s")
        project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded()
    crowd.begin(HELD, HELD_WITHIN_SECONDS)
    asked = crowd.end()
    (pod,) = place.cluster.list("v1", "Pod", place.namespace, f"app={names.HOLDER}")
    log = place.cluster.logs(place.namespace, objects.name(pod), tail=None)
    project.run("scale-down", MODEL, "-e", ENVIRONMENT).succeeded()  # keeps the start in the ledger
    objective = place.model.objectives.ttft
    return {
        "requests": len(asked),
        "held": sum(bool(one.heartbeats) for one in asked),
        "lost": [one.wrong for one in asked if one.wrong],
        "longest_silence_s": round(max(one.silence for one in asked), 2),
        "wakes": log.count("woken for"),
        "first_token_s": [float(s) for s in re.findall(r"([\d.]+) s \(p95\)", log)],
        "objective_s": objective.p95 if objective else None,
        "start_s": {phase: round(took, 2) for phase, took in serving(project).starts[-1].phases.items()},
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
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bench-") as scratch,
        start(Path(scratch) / "sandbox", speeds=SPEEDS) as sandbox,
    ):
        project = a_project(sandbox, Path(scratch))
        prepare(project.home)
        figures = measure(project)
    for title, phases in (("load begins", figures["up_s"]), ("load ends", figures["down_s"])):
        print(title)
        print("\n".join(steps(phases)))
    print("until the Service sends to it")
    print("\n".join(f"{took:8.2f} s   {whose}" for whose, took in figures["spent_s"].items()))
    print("its start:", ", ".join(f"{phase} {took:.2f} s" for phase, took in figures["start_s"].items()))
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
