"""`slipway status`: every column is read from where it comes from, and one that does not answer hides no other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Faults

from tasks.cloud.prices import instance_hour
from tests.support.clock import until
from tests.support.project import BUCKET, ENVIRONMENT, Project

MODEL = "tiny-llama"
pytestmark = pytest.mark.usefixtures("serving")


def looked(project: Project) -> dict[str, Any]:
    done = project.run("status", "-e", ENVIRONMENT, "--json").succeeded()
    document = done.output[done.output.index("{\n") :]
    (found,) = json.loads(document)["environments"]
    assert isinstance(found, dict)
    return found


def row(found: dict[str, Any], model: str = MODEL) -> dict[str, Any]:
    (one,) = (each for each in found["models"] if each["model"] == model)
    assert isinstance(one, dict)
    return one


def price(project: Project, kind: str) -> float:
    found = instance_hour(project.client("pricing"), kind, "us-east-1")
    assert found
    return found


@pytest.fixture
def asked(project: Project, serving: str) -> Iterator[None]:
    """Somebody asks the model that serves, again and again."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            project.complete()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    yield
    stop.set()
    asking.join(60)


@pytest.mark.usefixtures("asked")
def test_every_column_is_read(project: Project, serving: str) -> None:
    found: dict[str, Any] = {}

    def is_asked() -> bool:
        found.update(looked(project))
        return (row(found)["requests_per_minute"] or 0) > 10

    until(is_asked, 60)
    one = row(found)
    assert (one["release"], one["replicas_ready"], one["replicas_wanted"]) == (serving, 1, 1)
    assert len(one["nodes"]) == found["gpu_nodes"] == 1
    assert one["proven_at"]
    # a g5.2xlarge has one GPU, which is this replica's
    gpu, system = (price(project, kind) for kind in ("g5.2xlarge", "m6i.large"))
    assert one["usd_per_hour"] == pytest.approx(gpu)
    assert one["usd_per_million_output_tokens_at_proven_rate"] > 0
    assert found["nodes"] == {"g5.2xlarge": 1, "m6i.large": 2}
    assert found["usd_per_hour"] > gpu + 2 * system
    assert (one["unknown"], found["unknown"], found["troubles"]) == ({}, {}, [])
    day = found["last_24_hours"]
    assert day["unknown"] == {}
    assert 0 < day["idle_usd"] < day["gpu_usd"] < day["paid_usd"]
    assert day["models"][MODEL]["output_tokens"] > 0
    assert day["models"][MODEL]["usd_per_million_output_tokens_at_this_traffic"] > 0


def test_without_prometheus_the_rest_is_there(project: Project, faults: Faults, serving: str) -> None:
    faults.set("metrics-down")
    found = looked(project)
    one = row(found)
    assert one["unknown"] == {"requests_per_minute": "Prometheus does not answer"}
    assert found["last_24_hours"]["unknown"] == {"traffic": "Prometheus does not answer"}
    assert found["last_24_hours"]["paid_usd"] > 0
    assert one["requests_per_minute"] is None
    assert (one["release"], one["replicas_ready"], found["gpu_nodes"]) == (serving, 1, 1)


def test_a_model_whose_ledger_cannot_be_read_hides_no_other(project: Project, serving: str) -> None:
    s3, key = project.client("s3"), f"releases/{ENVIRONMENT}/tiny-embedding/serving.json"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"{")
    try:
        found = looked(project)
    finally:
        s3.delete_object(Bucket=BUCKET, Key=key)
    assert "is no JSON" in row(found, "tiny-embedding")["unknown"]["release"]
    assert row(found)["release"] == serving


def test_environments_that_cannot_be_looked_at_say_why_beside_the_others(project: Project) -> None:
    said = project.run("status").succeeded().output
    assert "production: " in said
    assert "sandbox: 1 GPU nodes, 3 instances" in said
