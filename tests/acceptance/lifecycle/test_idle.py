"""GPUs go only where it is proven that nobody uses them, and come back when they are asked for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from slipway_sandbox.testing import Faults

from tasks.idle.decide import PROMPTS, REQUESTS
from tests.support.clock import until
from tests.support.project import ENVIRONMENT, Project, edit

IDLE = ("scale-down", "tiny-llama", "-e", ENVIRONMENT)
# Seconds until a model that nobody asks has been idle for its window of 2 s, and Prometheus has seen it.
IDLE_SECONDS = 120.0

pytestmark = pytest.mark.usefixtures("serving")


def counted(project: Project, metric: str = REQUESTS) -> float:
    """How many requests, or what else a counter counts, Prometheus knows of."""
    url = f"{project.environment['PROMETHEUS_URL']}/api/v1/query"
    answer = httpx.get(url, params={"query": f'{metric}{{model_name="tiny-llama"}}'}, trust_env=False)
    return sum(float(series["value"][1]) for series in answer.raise_for_status().json()["data"]["result"])


@contextmanager
def traffic(project: Project) -> Iterator[None]:
    """A request, and then the next; Prometheus has seen some when the block begins."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            project.complete()
            stop.wait(0.1)

    before = counted(project)
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        until(lambda: counted(project) > before, 60)
        yield
    finally:
        stop.set()
        asking.join(60)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("metrics-down", "Prometheus does not answer: not taken for idle"),
        ("metrics-empty", "no series: not taken for idle"),
    ],
)
def test_without_metrics_nothing_is_scaled_down(
    project: Project, faults: Faults, fault: str, said: str
) -> None:
    faults.set(fault)
    done = project.run(*IDLE)
    assert said in done.output
    assert "scaled to zero" not in done.output
    assert "Traceback" not in done.output
    assert project.gpu_nodes() == 1


def test_with_traffic_nothing_is_scaled_down(project: Project) -> None:
    with traffic(project):
        done = project.run(*IDLE).succeeded()
    assert ": left: " in done.output
    assert project.gpu_nodes() == 1


def test_requests_that_clients_leave_are_traffic(project: Project) -> None:
    """vLLM counts an aborted request among no finished ones; its prompt it counts."""
    body = {"model": "tiny-llama", "prompt": "Hello", "max_tokens": 400, "stream": True, "ignore_eos": True}
    stop = threading.Event()

    def leave() -> None:
        with project.asking() as client:
            while not stop.wait(0.2):
                with client.stream("POST", "completions", json=body) as answer:
                    next(answer.iter_bytes())

    before = counted(project, PROMPTS)
    asking = threading.Thread(target=leave, daemon=True)
    asking.start()
    try:
        until(lambda: counted(project, PROMPTS) > before, 60)
        done = project.run(*IDLE).succeeded()
    finally:
        stop.set()
        asking.join(60)
    assert ": left: " in done.output
    assert "prompt tokens read, also of requests that were left" in done.output
    assert project.gpu_nodes() == 1


def test_an_idle_model_gives_its_gpus_away_and_a_wake_brings_them_back(project: Project) -> None:
    deadline = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run(*IDLE).succeeded().output:
        assert time.monotonic() < deadline, "nobody asked it, and it was not idle"
    assert project.gpu_nodes() == 0
    edit(project.home / "models/tiny-llama.yaml", {"scaling": {"wake": {"cron": "0 0 * * *"}}})
    woken = project.run("wake-due", "-e", ENVIRONMENT, "--minutes", "1440").succeeded().output
    assert "tiny-llama in sandbox answers" in woken
    assert re.search(r"cold start of release \w+: .*\bscheduled .* in all, last time", woken)
    assert project.complete()
