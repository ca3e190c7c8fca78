"""Two models of two kinds share an environment: cluster, gateway and one node of four GPUs. Neither's rollout disturbs the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.releases.ledger import Ledger
from tests.support.callers import Callers, calling
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

PAIR, BUCKET, CLUSTER = "pair", "slipway-pair-models", "slipway-pair"
CHATS, EMBEDS = "tiny-llama", "tiny-embedding"


@pytest.fixture(scope="module")
def pair(project: Project) -> Iterator[Project]:
    another_environment(project, PAIR)
    edit(
        project.home / "environments" / f"{PAIR}.yaml",
        {"cluster": {"gpu": {"instance_type": "g5.12xlarge", "max": 1}}},
    )
    busy = {"load": {"rate": 12, "warmup": "500ms", "window": "3s"}}
    edit(
        project.home / "models" / f"{EMBEDS}.yaml",
        busy | {"objectives": {"e2e": {"p95": "6s"}, "each": {"e2e": "6s"}}},
    )
    for model in (CHATS, EMBEDS):
        project.run("deploy", model, "-e", PAIR).succeeded()
    yield project
    project.run("teardown", "-e", PAIR, "--models", "delete", "--volumes", "delete").succeeded()


@pytest.fixture
def both(pair: Project) -> Iterator[tuple[Callers, Callers]]:
    """Callers of both models, who never stop."""
    pair.run("endpoint", CHATS, "-e", PAIR).succeeded()
    key = (pair.home / ".slipway" / "keys" / PAIR).read_text()
    chats, embeds = (address(pair, model) for model in (CHATS, EMBEDS))
    with calling(chats, key, CHATS) as first, calling(embeds, key, EMBEDS, embeds=True) as second:
        yield first, second


def address(project: Project, model: str) -> str:
    ledger = Ledger(project.client("s3"), BUCKET, PAIR, model)
    serving = ledger.serving().serving
    assert serving
    return ledger.record(serving).endpoint.base_url


def nodes_of(project: Project, model: str) -> set[str]:
    with project.sandbox.api(CLUSTER) as api:
        listed = api.get(
            f"/api/v1/namespaces/llm-{PAIR}/pods", params={"labelSelector": f"slipway.dev/model={model}"}
        )
    return {pod["spec"]["nodeName"] for pod in listed.raise_for_status().json()["items"]}


def test_both_run_on_the_one_node(pair: Project) -> None:
    assert nodes_of(pair, CHATS) == nodes_of(pair, EMBEDS)
    assert len(nodes_of(pair, CHATS)) == 1


def test_a_new_release_of_one_fails_no_request_of_either(
    pair: Project, both: tuple[Callers, Callers]
) -> None:
    done = pair.run("deploy", CHATS, "-e", PAIR, "--revision", "v1").succeeded()
    assert "downtime: every question was answered" in done.output
    first, second = both
    assert len(first.answers) > 50
    assert len(second.answers) > 50
    assert (first.failures, second.failures) == ([], [])


def test_nor_does_a_new_release_of_the_other(pair: Project, both: tuple[Callers, Callers]) -> None:
    edit(pair.home / "models" / f"{EMBEDS}.yaml", {"engine": {"max_num_seqs": 16}})
    done = pair.run("deploy", EMBEDS, "-e", PAIR).succeeded()
    assert "downtime: every question was answered" in done.output
    first, second = both
    assert (first.failures, second.failures) == ([], [])
