"""Gate and load as Jobs in the cluster: what they measure, how they fail, and that nothing stays of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud import inside, objects
from tasks.cloud.jobs import running
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import Interrupted, RolloutFailed, ValidationFailed
from tasks.records.model import Model
from tasks.records.names import VALIDATION
from tasks.records.stop import STOP
from tasks.releases.ledger import Ledger
from tasks.rollout.asking import ask_endpoint, watching
from tasks.rollout.context import RolloutContext
from tasks.validation.in_cluster import prove_inside
from tests.support.builders import ROOT
from tests.support.gated import GatedRelease, OpenGateway
from tests.support.heard import Heard
from tests.support.workloads import NAMESPACE, wait

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)
LOAD = {
    "rate": 40,
    "warmup": "0s",
    "window": "3s",
    "drain": "5s",
    "prompt_tokens": {"mean": 8},
    "output_tokens": {"mean": 4},
}


class Asked:
    """An open gateway, and what asks it from inside the cluster."""

    def __init__(self, one: GatedRelease, api: Cluster) -> None:
        self.opened, self.api, self.heard = OpenGateway(one), api, Heard()
        self.one = one

    def environment(self, image: str = "", cpu: str = "500m", **over: Any) -> Environment:
        given = self.one.environment
        asking = given.validation.model_copy(update={"image": image or given.validation.image, "cpu": cpu})
        deadlines = given.deadlines.model_copy(update={"pod_start": 30.0, "gateway": 5.0} | over)
        return given.model_copy(update={"deadlines": deadlines, "validation": asking})

    def context(self, environment: Environment) -> RolloutContext:
        ledger = Ledger(None, "none", environment.name, self.one.model.name)
        return RolloutContext(ROOT, self.api, environment, ledger, self.heard)

    def ask(self, environment: Environment | None = None) -> str:
        where = environment or self.environment()
        return ask_endpoint(self.context(where), self.opened.endpoint, self.one.workload)

    def model(self, **load: Any) -> Model:
        return Model.model_validate(self.one.model.model_dump() | {"load": LOAD | load})

    def left(self) -> list[str]:
        """Jobs and ConfigMaps of ours, and pods that still run."""
        selector = f"app={VALIDATION}"
        found = self.api.list("batch/v1", "Job", NAMESPACE, label_selector=selector)
        found += self.api.list("v1", "ConfigMap", NAMESPACE, label_selector=selector)
        found += objects.living(self.api.list("v1", "Pod", NAMESPACE, label_selector=selector))
        return [objects.name(one) for one in found]


@pytest.fixture
def asked(release: Make, gpu_cluster: Cluster) -> Iterator[Asked]:
    one = Asked(release(), gpu_cluster)
    yield one
    wait(lambda: not one.left())


def test_the_gate_asks_from_inside_and_the_load_is_measured_there_with_progress(asked: Asked) -> None:
    assert asked.ask()
    report = prove_inside(
        asked.api, asked.environment(), asked.model(), asked.opened.key, asked.heard, root=ROOT
    )
    assert report.measured_from == "cluster"
    assert report.succeeded == report.requests > 20
    assert report.send_lateness.p50 is not None
    assert asked.heard.steps[-1][0] > 0
    assert asked.heard.steps == sorted(asked.heard.steps)


def test_prompts_of_a_file_are_sent_from_inside(asked: Asked, tmp_path: Any) -> None:
    (tmp_path / "ask.jsonl").write_text('{"prompt": "Hello there", "max_tokens": 3}\n')
    report = prove_inside(
        asked.api,
        asked.environment(),
        asked.model(prompts="ask.jsonl", rate=20),
        asked.opened.key,
        asked.heard,
        root=tmp_path,
    )
    assert report.succeeded == report.requests > 20


def test_the_key_is_in_no_object_but_its_secret(asked: Asked) -> None:
    said: list[str] = []
    environment, model = asked.environment(), asked.one.model.name
    told = inside.Program.told(
        f"gate-{model}",
        "tasks.rollout.endpoint_check",
        **inside.asked_at(asked.api, environment, model),
        route="chat",
        abilities={},
        adapters=[],
        max_model_len=2048,
        served_name=model,
        patience=5.0,
    )
    with running(
        asked.api, environment, model, told, seconds=60.0, failed=RolloutFailed, say=said.append
    ) as job:
        lines = job.wait()
        kinds = (("batch/v1", "Job"), ("v1", "Pod"), ("v1", "ConfigMap"), ("v1", "Event"))
        written = json.dumps([asked.api.list(*kind, NAMESPACE) for kind in kinds])
    assert asked.opened.key not in written
    assert asked.opened.key not in "".join([*lines, *said])


def test_an_image_that_cannot_be_pulled_is_told_with_the_setting(asked: Asked, faults: Faults) -> None:
    faults.set("image-not-found", target="*:no-such")
    with pytest.raises(
        RolloutFailed, match=r"the image registry.acme/python:no-such cannot be pulled"
    ) as caught:
        asked.ask(asked.environment(image="registry.acme/python:no-such", pod_start=5.0))
    assert "set validation.image in environments/" in str(caught.value.next_command)
    assert any("pull" in line for line in caught.value.evidence)


def test_a_pod_that_no_node_takes_is_told_with_the_schedulers_words(asked: Asked) -> None:
    with pytest.raises(RolloutFailed, match="no node takes the pod of job gate-") as caught:
        asked.ask(asked.environment(cpu="500", pod_start=3.0))
    assert any("Insufficient cpu" in line for line in caught.value.evidence)


def answers(url: str) -> bool:
    """Whether anything is said there within a second."""
    try:
        httpx.get(url, timeout=1.0)
    except httpx.TransportError:
        return False
    return True


def test_a_way_that_is_cut_is_told_from_the_jobs_side(asked: Asked, faults: Faults) -> None:
    faults.set("path-cut", target="llm-gateway*")
    url = inside.asked_at(asked.api, asked.environment(), asked.one.model.name)["base_url"]
    wait(lambda: not answers(url))
    with pytest.raises(RolloutFailed, match="does not answer to a job inside the cluster") as caught:
        asked.ask(asked.environment(gateway=1.0))
    assert any("leave the path open" in line for line in caught.value.evidence)


def test_a_cancelled_load_stops_asking_and_leaves_nothing(asked: Asked) -> None:
    class StopOnProgress(Heard):
        def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
            STOP.set()

    try:
        with pytest.raises(Interrupted):
            prove_inside(
                asked.api,
                asked.environment(),
                asked.model(window="60s"),
                asked.opened.key,
                StopOnProgress(),
                root=ROOT,
            )
    finally:
        STOP.clear()
    wait(lambda: not asked.left())


def test_a_load_of_a_run_that_was_killed_is_ended_before_the_next_is_measured(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, model = asked.environment(), asked.one.model.name
    at = inside.asked_at(asked.api, environment, model)
    told = inside.Program.told(
        "downtime-dead", "tasks.rollout.downtime", **at, served_name=model, route="chat"
    )
    with running(
        asked.api, environment, model, told, seconds=200.0, failed=ValidationFailed, say=lambda line: None
    ) as job:
        job.wait_for_line()
        monkeypatch.setattr(inside, "RUN", "the-next-one")
        assert asked.ask()
        assert asked.left() == []


def test_downtime_is_measured_from_inside_while_the_way_is_cut(asked: Asked, faults: Faults) -> None:
    context = asked.context(asked.environment())
    with watching(context, asked.opened.endpoint, asked.opened.key, 120.0) as watch:
        faults.set("engine-500", count=3)
        wait(lambda: (watch.stop() or 0.0) > 0.0)
