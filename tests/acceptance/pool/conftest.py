"""A Prefect server on Postgres, a Kubernetes worker and a cluster of this folder's own, with stand-ins for the flows' tasks.

Not on SQLite: with an observer's events beside the runs', a button waits 30 s and more for its lock.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from slipway_sandbox.testing import start

from tests.support import postgres
from tests.support.job_pool import JobPool


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPool]:
    if not postgres.installed():
        pytest.skip("needs Debian's package: apt-get install postgresql")
    with (
        postgres.running() as url,
        start(tmp_path_factory.mktemp("region"), parts=("aws", "region")) as region,
    ):
        eks = region.make_cluster("workers")
        eks.add_nodes("system", "m6i.large")
        pool = JobPool(tmp_path_factory.mktemp("pool"), database=url, eks=eks)
        pool.world.make()
        pool.lay_out()
        pool.start_server()
        try:
            pool.make_namespace()
            applied = pool.slipway("prefect", "apply", "-e", "sandbox")
            assert applied.end() == 0, applied.output
            pool.lend_variables()
            pool.only_stand_ins()
            pool.schedule("recover", on=False)
            pool.start_worker()
            yield pool
        finally:
            pool.end()


@pytest.fixture
def pool(started: JobPool) -> Iterator[JobPool]:
    """The pool with nothing deployed and no run under way."""
    shutil.rmtree(started.world.folder)
    started.world.make()
    yield started
    started.world.let_go()
    started.settled()
