"""A sandbox whose notice before a spot node goes is a fifteenth of EC2's two minutes, and a project of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import Sandbox, start

from tests.support.project import Project, a_project

NOTICE_SECONDS = 8.0


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with start(tmp_path_factory.mktemp("spot"), speeds={"spot_notice_seconds": NOTICE_SECONDS}) as running:
        yield running


@pytest.fixture(scope="session")
def project(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return a_project(sandbox, tmp_path_factory.mktemp("project"))
