"""One release that is applied wrong, and what the gate says of it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster
from tasks.records.errors import RolloutFailed
from tasks.records.names import OWN_KEY_SECRET, serving_selector, workload
from tasks.releases.ledger import Ledger
from tasks.rollout import gateway
from tasks.rollout.context import RolloutContext
from tasks.rollout.endpoint_check import GatewayCutOff, check_endpoint
from tasks.rollout.gate import wait_for_pods
from tasks.rollout.manifests import release_of, serving, stamped
from tasks.rollout.weights import Weights
from tests.support.builders import ROOT, a_cache, a_model, an_environment
from tests.support.keys import bring_keys
from tests.support.ledgers import MemoryS3
from tests.support.weights import CLAIM, PATH
from tests.support.workloads import NAMESPACE, Document, Quiet, wait

IMAGE = "vllm/vllm-openai:v0.32.0"


class GatedRelease:
    """One release of a model of its own. A test changes its `pod` before it is applied."""

    def __init__(self, cluster: Cluster, **model: Any) -> None:
        self.cluster = cluster
        # its pods end at once: there is one GPU, and the next test needs it
        engine = {"max_model_len": 512, "image": IMAGE, "drain": 0, "shutdown_timeout": 0}
        engine |= model.pop("engine", {})
        resources = {"cpu": "100m", "memory": "1Gi"}
        self.model = a_model(name=f"m-{uuid.uuid4().hex[:8]}", engine=engine, resources=resources, **model)
        self.environment = an_environment(cluster={"gpu": {"label_value": "inference-gpu"}})
        weights = Weights.of(a_cache(claim=CLAIM, path=PATH), 1 << 20)
        documents = serving(ROOT, self.model, self.environment, weights)
        self.release = release_of(self.model, self.environment, weights.commit, documents)
        kinds = ("Deployment", "Service")
        self.documents = [d for d in stamped(documents, self.release) if d["kind"] in kinds]
        self.workload = workload(self.model)
        deployment = next(d for d in self.documents if d["kind"] == "Deployment")
        deployment["spec"]["replicas"] = 1
        self.pod: Document = deployment["spec"]["template"]["spec"]
        self.pod["terminationGracePeriodSeconds"] = 1

    @property
    def container(self) -> Document:
        found: Document = self.pod["containers"][0]
        return found

    def ask_for_gpus(self, gpus: int) -> None:
        for kind in ("requests", "limits"):
            self.container["resources"][kind]["nvidia.com/gpu"] = str(gpus)

    def mount(self, claim: str) -> None:
        """Read the weights from another claim."""
        self.pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim

    def apply(self) -> None:
        bring_keys(self.cluster, NAMESPACE)
        for document in self.documents:
            self.cluster.apply(document)

    def pods(self) -> list[Document]:
        return self.cluster.list("v1", "Pod", NAMESPACE, label_selector=serving_selector(self.model))

    def wait_until_loading(self) -> None:
        wait(lambda: any(objects.running_since(pod) for pod in self.pods()))

    def wait(self, seconds: float = 40.0, patience: float = 0.5, group_issues: Any = tuple) -> None:
        """Wait at the gate; `patience`: how long a cause that may pass is waited out."""
        deadlines = self.environment.deadlines.model_copy(update={"pod_start": patience})
        context = RolloutContext(
            root=ROOT,
            cluster=self.cluster,
            environment=self.environment.model_copy(update={"deadlines": deadlines}),
            ledger=Ledger(MemoryS3(), "models", self.environment.name, self.model.name),
            reporter=Quiet(),
            group_issues=group_issues,
        )
        wait_for_pods(context, self.workload, self.release.id, seconds)

    def failure(self, seconds: float = 40.0, group_issues: Any = tuple) -> RolloutFailed:
        """What the gate says once the release is applied."""
        self.apply()
        with pytest.raises(RolloutFailed) as caught:
            self.wait(seconds, group_issues=group_issues)
        assert caught.value.next_command
        return caught.value

    def remove(self) -> None:
        self.cluster.delete("apps/v1", "Deployment", self.workload, NAMESPACE, propagation="Foreground")
        wait(lambda: not self.pods())


class OpenGateway:
    """The gateway in front of one release that is complete."""

    def __init__(self, one: GatedRelease) -> None:
        self.one, api = one, one.cluster
        one.apply()
        one.wait(patience=20.0)
        routes = gateway.apply_route(ROOT, api, one.model, one.environment)
        keys = gateway.keys_digest(api, NAMESPACE)
        for document in gateway.documents(ROOT, one.environment, routes, keys):
            if document["kind"] == "ConfigMap":
                text = document["data"]["nginx.conf"]
                document["data"]["nginx.conf"] = text.replace("timeout 10s", "timeout 1s")
            if document["kind"] != "NetworkPolicy":
                api.apply(document)
        self.endpoint = gateway.endpoint_of(api, one.environment, one.model, seconds=40.0)

    @property
    def key(self) -> str:
        return objects.read_key(self.one.cluster, NAMESPACE, OWN_KEY_SECRET)

    def ask(self, key: str | None = None, name: str | None = None) -> str:
        served = name or self.one.model.name
        return check_endpoint(self.endpoint.base_url, key or self.key, served, patience=1.0)

    def ask_until_cut(self) -> GatewayCutOff:
        """What is said once the path is cut; a fault that has been switched on takes hold a moment later."""
        found: list[GatewayCutOff] = []

        def is_cut() -> bool:
            try:
                self.ask()
            except GatewayCutOff as cut:
                found.append(cut)
            return bool(found)

        wait(is_cut)
        return found[0]


def told(failure: RolloutFailed) -> str:
    """Cause and evidence as one text."""
    return "\n".join([failure.cause, *failure.evidence])
