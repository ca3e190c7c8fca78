"""Which worker of pytest-xdist runs what: a folder's tests run on one, and the folders that take longest are begun first.

The tests of a folder share a sandbox and what is deployed in it. Spread over the workers, or mixed with others, each part
of a folder would pay for its own again.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# by what their tests took together on a machine that did other things too; what is not here comes after, as collected.
# lifecycle was never measured to its end: it is taken for the longest
LONGEST_FIRST = (
    "tests/acceptance/lifecycle",
    "tests/acceptance/tasks/cache",
    "tests/acceptance/tasks/rollout/upgrades",
    "tests/acceptance/infra",
    "tests/acceptance/tasks/rollout/explained",
    "tests/acceptance/tasks/staging",
    "tests/acceptance/tasks/validation",
)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    """`--dist loadscope` with folders for scopes. `loadgroup` of xdist 3.8.0 groups nothing under pytest 9.2.0."""

    def _split_scope(self, nodeid: str) -> str:
        return folder(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder | None:
    return ByFolder(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(folder(item.nodeid)))


def folder(nodeid: str) -> str:
    return nodeid.partition("::")[0].rpartition("/")[0]


def place(name: str) -> int:
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)
