"""One sandbox for the whole folder, and `slipway` run in it as a person runs it.

The files have an order: first what is refused on an empty account, then the deploy that is killed in every stage,
then what stands on it, and at last the teardown, killed too. Each file also holds alone, and beside the others with
`pytest -n 2 --dist loadfile`: then each worker has its own sandbox. SLIPWAY_LIFECYCLE_LOG names a file that gets
every command's output.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from slipway_sandbox.testing import Sandbox

from tests.support.builders import ROOT
from tests.support.commands import BUCKET, Region, copy_project

ORDER = ["test_refused", "test_killed", "test_releases", "test_promoted", "test_idle", "test_torn_down"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(str(item.fspath)).parent == Path(__file__).parent]
    for item in here:
        item.add_marker(pytest.mark.lifecycle)
        item.add_marker(pytest.mark.timeout(600))  # a file's first test waits for its whole deployment
    places = [index for index, item in enumerate(items) if item in here]
    ordered = sorted(here, key=lambda item: ORDER.index(Path(str(item.fspath)).stem))
    for index, item in zip(places, ordered, strict=True):
        items[index] = item


@pytest.fixture(scope="session")
def region(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Region:
    """A project of its own in the sandbox, and a Prefect home beside it."""
    folder = tmp_path_factory.mktemp("lifecycle")
    home = folder / "project"
    copy_project(home)
    variables = sandbox.variables(
        SLIPWAY_HOME=str(home),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "sandbox")]),
        PREFECT_HOME=str(folder / "prefect"),
        PYTHONUNBUFFERED="1",
    )
    return Region(sandbox, home, variables)


@pytest.fixture(scope="module")  # another file may have torn it down
def deployed(region: Region) -> None:
    """tiny-llama serves; the tests of killed runs have seen to it already, where they ran."""
    there = {bucket["Name"] for bucket in region.client("s3").list_buckets()["Buckets"]}
    if BUCKET not in there or region.serving().serving is None:
        region.deploy().succeeded()
