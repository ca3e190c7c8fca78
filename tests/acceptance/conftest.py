"""Which worker of pytest-xdist runs what: a folder's tests run on one, and the folders that take longest are begun first.

The tests of a folder share a sandbox and what is deployed in it. Spread over the workers, or mixed with others, each part
of a folder would pay for its own again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builders import ROOT

# as `--durations=0` on two quiet cores had them; what is not here comes after these, as it was collected
LONGEST_FIRST = (
    "tests/acceptance/lifecycle",
    "tests/acceptance/tasks/rollout/upgrades",
    "tests/acceptance/tasks/rollout/explained",
    "tests/acceptance/infra",
    "tests/acceptance/tasks/cache",
    "tests/acceptance/tasks/staging",
    "tests/acceptance/tasks/infra",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.xdist_group(folder(item)))
    items.sort(key=place)


def folder(item: pytest.Item) -> str:
    return str(Path(item.path).parent.relative_to(ROOT))


def place(item: pytest.Item) -> int:
    name = folder(item)
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)
