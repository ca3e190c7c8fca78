"""The deployments of the environment `sandbox` and a worker that runs them, beside a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from slipway_sandbox.supervisor import SandboxError, began, read_environment

ENVIRONMENT = "sandbox"
POOL = f"slipway-{ENVIRONMENT}"
STEP_SECONDS = 120.0


def serve(root: Path, project: Path) -> int:
    """Register the deployments of environment `sandbox` of `project` and start a worker; the worker's process id. Raises SandboxError."""
    slipway = Path(sys.executable).with_name("slipway")
    done = subprocess.run(
        [slipway, "prefect", "apply", "--environment", ENVIRONMENT],
        cwd=project,
        env=variables(root, project),
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"slipway prefect apply failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return start_worker(root, project)


def variables(root: Path, project: Path) -> dict[str, str]:
    return {**os.environ, **read_environment(root), "SLIPWAY_HOME": str(project.resolve())}


def start_worker(root: Path, project: Path) -> int:
    """Start a worker of the pool `slipway-sandbox`; its process id. `down` ends it: it is written into processes.json."""
    with (root / "logs" / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--name", "sandbox"],
            cwd=project,
            env=variables(root, project),
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
