"""The platform of tests/support/platform.py with a work pool of type kubernetes: each run is a Job of a sandbox's cluster."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from slipway_sandbox.testing import EksCluster

from tests.support.platform import Platform
from tests.support.standin.world import VARIABLE

POOL = "slipway-sandbox"
NAMESPACE = "slipway"
SERVICE_ACCOUNT = "slipway-run"
IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/acme/slipway@sha256:{'5' * 64}"


@dataclass
class JobPool(Platform):
    """`eks`: where the worker makes the Jobs. The worker is a process of this machine, with a kubeconfig."""

    eks: EksCluster = field(kw_only=True)

    def lay_out(self) -> None:
        super().lay_out()
        file = self.folder / "project" / "environments" / "sandbox.yaml"
        pool = {"type": "kubernetes", "pod": {"image": IMAGE, "stop_seconds": 30}}
        file.write_text(file.read_text() + yaml.safe_dump({"work_pool": pool}))

    def make_namespace(self) -> None:
        """What a platform team makes before the worker: the namespace and the runs' service account."""
        with self.api() as api:
            for path, body in (
                ("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": NAMESPACE}}),
                (
                    f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
                    {"kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}},
                ),
            ):
                api.post(path, json={"apiVersion": "v1", **body}).raise_for_status()

    def lend_variables(self) -> None:
        """Give every run what leads it to this checkout and the stand-ins' world: an image would have the first in it."""
        pool = self.call("GET", f"/work_pools/{POOL}")
        template = pool["base_job_template"]
        template["variables"]["properties"]["env"]["default"] = {
            "PYTHONPATH": self.variables["PYTHONPATH"],
            VARIABLE: str(self.folder / "world"),
        }
        self.call("PATCH", f"/work_pools/{POOL}", {"base_job_template": template})

    def start_worker(self, pool: str = POOL) -> None:
        words = ["prefect", "worker", "start", "--pool", pool, "--type", "kubernetes", "--name", "w"]
        self._start(
            "worker",
            words,
            {
                "KUBECONFIG": str(self.kubeconfig()),
                "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": NAMESPACE,
            },
        )

    def kubeconfig(self) -> Path:
        """For a worker outside the cluster; its token is good for 15 minutes."""
        described = self.eks.describe()
        path = self.folder / "kubeconfig"
        cluster = {
            "server": described["endpoint"],
            "certificate-authority-data": described["certificateAuthority"]["data"],
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "eks", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": self.eks.sandbox.bearer(self.eks.name)}}],
            "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": "me"}}],
            "current-context": "eks",
        }
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(document, file)
        return path

    # -- what is in the cluster

    def api(self) -> httpx.Client:
        return self.eks.sandbox.api(self.eks.name)

    def job_of(self, run: str) -> dict[str, Any]:
        """The one Job of a run, or the newest."""
        return self._newest("/apis/batch/v1", "jobs", run)

    def pod_of(self, run: str) -> dict[str, Any]:
        return self._newest("/api/v1", "pods", run)

    def _newest(self, group: str, kind: str, run: str) -> dict[str, Any]:
        with self.api() as api:
            asked = {"labelSelector": f"prefect.io/flow-run-id={run}"}
            answer = api.get(f"{group}/namespaces/{NAMESPACE}/{kind}", params=asked).raise_for_status()
        found = sorted(answer.json()["items"], key=lambda one: one["metadata"]["creationTimestamp"])
        return dict(found[-1])

    def jobs_of(self, run: str) -> int:
        """How many Jobs a run has had that are still there."""
        with self.api() as api:
            asked = {"labelSelector": f"prefect.io/flow-run-id={run}"}
            answer = api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", params=asked).raise_for_status()
        return len(answer.json()["items"])

    def evict(self, run: str) -> None:
        """What draining its node does."""
        name = self.pod_of(run)["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        with self.api() as api:
            path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
            api.post(path, json=body).raise_for_status()

    @staticmethod
    def lose_pod(engine: int) -> None:
        """kill -9 of the container's first process, given the run's: no SIGTERM, no last word, as with a lost node."""
        os.kill(int(Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
