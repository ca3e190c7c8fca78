"""A worker of an environment's pool, in the sandbox's Prefect: a project's flows run there as on a platform."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.builders import ROOT
from tests.support.project import Project

WORKER = ("-m", "prefect", "worker", "start", "--pool")
ENDS_WITHIN = 120.0


@contextmanager
def working(project: Project, environment: str) -> Iterator[None]:
    """The deployments of the environment in the sandbox's Prefect, and a worker of its pool."""
    flows = project.home / "flows"
    if not flows.exists():
        flows.symlink_to(ROOT / "flows")  # a deployment's entry point is a file of the project
    project.run("prefect", "apply", "-e", environment).succeeded()
    worker = subprocess.Popen(
        # a shell's background job ignores SIGINT, by which Prefect's worker ends itself
        ["/usr/bin/env", "--default-signal=INT", sys.executable, *WORKER, f"slipway-{environment}"],
        cwd=project.home,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(ENDS_WITHIN)  # it ends once its runs have, a scheduled one among them
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
