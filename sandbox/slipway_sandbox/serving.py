"""A Prefect work pool, the deployments of a prefect.yaml and a worker that runs them, beside a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from slipway_sandbox.supervisor import SandboxError, began, read_environment

POOL = "slipway"
STEP_SECONDS = 120.0


def serve(root: Path, project: Path) -> int:
    """Deploy every deployment of `project`/prefect.yaml and start a worker; the worker's process id.

    The worker is written into processes.json, so that `down` ends it. Raises SandboxError.
    """
    values = {**os.environ, **read_environment(root), "SLIPWAY_HOME": str(project.resolve())}
    for words in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=project,
            env=values,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise SandboxError(f"prefect {' '.join(words)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    with (root / "logs" / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--name", "sandbox"],
            cwd=project,
            env=values,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    file = root / "processes.json"
    known = json.loads(file.read_text())
    known["worker"] = {"pid": worker.pid, "began": began(worker.pid)}
    file.write_text(json.dumps(known))
    return worker.pid
