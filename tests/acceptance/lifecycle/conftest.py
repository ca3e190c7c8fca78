"""One sandbox for the whole folder, and `slipway` run in it as a person runs it.

Each test makes or repairs what it stands on: a file, or a test, holds alone and after any other. Their order only saves
deployments: first the deploy that is stopped in every stage, then what stands on it, at last the teardown.
`make acceptance` runs the folder on one worker of pytest-xdist; with `--dist loadfile` each worker has its own sandbox.
SLIPWAY_LIFECYCLE_LOG names a file that gets every command's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slipway_sandbox.testing import Faults, Sandbox

from tests.support.commands import Command
from tests.support.project import Project, a_project

ORDER = [
    "test_refused",
    "test_killed",
    "test_terminal",
    "test_releases",
    "test_keys",
    "test_front_door",
    "test_promoted",
    "test_answers",
    "test_status",
    "test_watch",
    "test_webhook",
    "test_idle",
    "test_cost",
    "test_open",
    "test_replicas",
    "test_scaler",
    "test_measured",
    "test_drill",
    "test_tasks",
    "test_karpenter",
    "test_held",
    "test_abilities",
    "test_pair",
    "test_paired",
    "test_litellm",
    "test_torn_down",
    "test_existing",
]
# A file's first test may wait for a whole deployment on a busy machine.
TEST_SECONDS = 1200

Start = Callable[..., Command]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(str(item.fspath)).parent == Path(__file__).parent]
    for item in here:
        item.add_marker(pytest.mark.lifecycle)
        item.add_marker(pytest.mark.timeout(TEST_SECONDS))
    places = [index for index, item in enumerate(items) if item in here]
    ordered = sorted(here, key=lambda item: ORDER.index(Path(str(item.fspath)).stem))
    for index, item in zip(places, ordered, strict=True):
        items[index] = item


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return a_project(sandbox, tmp_path_factory.mktemp("lifecycle"))


@pytest.fixture
def serving(project: Project) -> str:
    """tiny-llama serves; its release."""
    return project.serve()


@pytest.fixture
def start(project: Project, faults: Faults) -> Iterator[Start]:
    """`start("deploy", …)`: a command to be stopped. What still runs at the end is killed, and then the faults are cleared."""
    started: list[Command] = []

    def begin(*words: str) -> Command:
        started.append(project.start(*words))
        return started[-1]

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.kill()
