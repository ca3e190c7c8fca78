"""One sandbox for the whole folder, in an account that may run nodes of eight GPUs. `slipway` is run in it as a person runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from slipway_sandbox.testing import Sandbox, start

from tests.support.project import ENVIRONMENT, Project, a_project, edit
from tests.support.shaped_models import make

# A file's first test may wait for a whole deployment on a busy machine.
TEST_SECONDS = 1200
GPU_NODES = {"provisioner": "node-group", "instance_type": "g5.2xlarge", "max": 6}
QUOTA = 1024.0  # vCPUs: a g5.48xlarge has 192


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.lifecycle)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    models = make(tmp_path_factory.mktemp("models"))
    with start(tmp_path_factory.mktemp("shapes"), speeds={"vcpu_quota": QUOTA}, models=models) as running:
        yield running


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = a_project(sandbox, tmp_path_factory.mktemp("project"))
    # every file's models stay where they are
    edit(project.home / "environments" / f"{ENVIRONMENT}.yaml", {"cluster": {"gpu": GPU_NODES}})
    return project
