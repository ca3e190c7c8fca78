"""The lifecycle with a real vLLM: what the product asks of an engine, and reads of it, is what a vLLM says."""

from __future__ import annotations

import secrets

import pytest
from slipway_sandbox.testing import Sandbox

from tasks.records.errors import RolloutFailed
from tests.support.clock import until
from tests.support.collector import Collector
from tests.support.project import ENVIRONMENT, Project


@pytest.fixture(scope="module")
def serving(project: Project) -> str:
    """tiny-llama is rolled out and proven; its release."""
    project.deploy().succeeded()
    found = project.serving()
    assert found.serving
    assert not found.rolling
    return found.serving


def test_a_deploy_is_proven_and_answers(project: Project, serving: str) -> None:
    assert serving
    assert project.complete()


def test_a_request_leaves_a_span_of_its_trace_at_the_collector(
    project: Project, serving: str, collector: Collector
) -> None:
    """The trace that the client began goes through the gateway into vLLM, whose span says what was generated."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    with project.asking() as client:
        asked = {"model": "tiny-llama", "prompt": "one two", "max_tokens": 4}
        client.post("completions", json=asked, headers=headers).raise_for_status()
    wanted = (bytes.fromhex(trace), b"tiny-llama", b"gen_ai.usage.completion_tokens")
    until(lambda: collector.has(*wanted), 60)


def test_a_start_that_fails_is_told_with_its_cause(project: Project, serving: str) -> None:
    """A real vLLM's 200 lines of log, in which the cause is not among the last."""
    failed = project.deploy("misfit-llama")
    assert failed.code == RolloutFailed.exit_code, failed.output
    assert "does not fit its config" in failed.output
    assert "another revision (source.revision)" in failed.output
    assert project.serving().serving == serving
    assert project.answers()


def test_it_sleeps_wakes_and_is_torn_down(project: Project, serving: str, sandbox: Sandbox) -> None:
    def asleep() -> bool:
        return "scaled to zero" in project.run("scale-down", "tiny-llama", "-e", ENVIRONMENT).output

    until(asleep, 120)
    assert project.gpu_nodes() == 0
    project.run("wake", "tiny-llama", "-e", ENVIRONMENT).succeeded()
    assert project.serving().serving == serving
    assert project.complete()
    down = project.run("teardown", "-e", ENVIRONMENT, "--models", "delete", "--volumes", "delete")
    down.succeeded()
    assert "nothing is left" in down.output
    assert not sandbox.client("eks").list_clusters()["clusters"]
