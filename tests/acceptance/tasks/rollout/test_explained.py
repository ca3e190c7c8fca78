"""Every cause as it comes: a release made wrong in a cluster with one GPU, and what the gate says of it.

The events, conditions, exit codes and logs are those of the sandbox's scheduler, kubelet, CSI driver, vLLM and NGINX.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Faults, Sandbox, make_models

from tasks.cloud.aws import Aws
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.node_group import describe
from tasks.records.errors import CloudError, ClusterError, RolloutFailed
from tasks.records.model import Load
from tasks.rollout import gate, gateway, network
from tasks.rollout.manifests import load, release_of, serving, stamped
from tasks.rollout.nodegroup import NodeGroupHealth
from tasks.validation.proof import prove
from tests.support.builders import ROOT, a_cache, a_model, an_environment
from tests.support.workloads import Document, Quiet, claim, device_plugin, phase, wait

NAMESPACE = "llm"
IMAGE = "vllm/vllm-openai:v0.32.0"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def faulty(sandbox: Sandbox) -> Faults:
    return sandbox.faults


@pytest.fixture(scope="module")
def place(eks: EksCluster, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster with its GPU advertised, and the weights of a tiny Llama on a volume."""
    pods = {"nodeSelector": {"workload": "inference-gpu"}, "tolerations": [{"operator": "Exists"}]}
    eks.add_gpu_nodes("gpu", "g5.2xlarge", workload="inference-gpu", most=2)
    cluster.apply(device_plugin(pods))
    cluster.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "waits"},
            "provisioner": "ebs.csi.aws.com",
            "parameters": {"type": "gp3"},
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    cluster.apply(load(ROOT, "serving/serviceaccount.yaml"))
    cluster.apply(claim("weights"))
    models = make_models(tmp_path_factory.mktemp("hub"))
    cluster.apply(
        _pod(
            "writer",
            {
                **pods,
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "copy",
                        "image": "public.ecr.aws/docker/library/busybox:1.37",
                        "command": ["sh", "-c", f"cp -r {models / 'tiny-llama' / 'main'} /models/tiny"],
                        "volumeMounts": [{"name": "cache", "mountPath": "/models"}],
                    }
                ],
                "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}}],
            },
        )
    )
    wait(lambda: phase(cluster, "writer") == "Succeeded")
    cluster.delete("v1", "Pod", "writer", NAMESPACE)
    eks.add_nodes("system", "m6i.large")
    wait(lambda: any("nvidia.com/gpu" in n["status"]["allocatable"] for n in cluster.list("v1", "Node")))
    return cluster


def _pod(name: str, spec: Document) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


class Release:
    """One release of its own; `wrong` changes its Deployment before it is applied."""

    def __init__(self, cluster: Cluster, **model: Any) -> None:
        self.cluster = cluster
        engine = {"max_model_len": 512, "image": IMAGE, **model.pop("engine", {})}
        resources = {"cpu": "100m", "memory": "1Gi"}
        self.model = a_model(name=f"m-{uuid.uuid4().hex[:8]}", engine=engine, resources=resources, **model)
        self.environment = an_environment(cluster={"gpu": {"label_value": "inference-gpu"}})
        cache = a_cache(claim="weights", path="tiny")
        documents = serving(
            ROOT, self.model, self.environment, cache=cache, strategy="RollingUpdate", weight_bytes=1 << 20
        )
        self.release = release_of(self.model, self.environment, cache, documents)
        kinds = ("Deployment", "Service")
        self.documents = [d for d in stamped(documents, self.release) if d["kind"] in kinds]
        self.workload = f"vllm-{self.model.name}"
        deployment = next(d for d in self.documents if d["kind"] == "Deployment")
        deployment["spec"]["replicas"] = 1
        self.pod: Document = deployment["spec"]["template"]["spec"]

    @property
    def container(self) -> Document:
        found: Document = self.pod["containers"][0]
        return found

    def apply(self) -> None:
        gateway.ensure_key(self.cluster, NAMESPACE)
        for document in self.documents:
            self.cluster.apply(document)

    def wait(self, seconds: float = 40.0, patience: float = 0.5, group: Any = tuple) -> None:
        gate.wait_until_complete(
            self.cluster,
            NAMESPACE,
            self.workload,
            self.release.id,
            deadline=time.monotonic() + seconds,
            patience=patience,
            reporter=Quiet(),
            group=group,
        )

    def failure(self, seconds: float = 40.0, group: Any = tuple) -> RolloutFailed:
        """What the gate says once the release is applied."""
        self.apply()
        with pytest.raises(RolloutFailed) as caught:
            self.wait(seconds, group=group)
        assert caught.value.next_command
        return caught.value

    def remove(self) -> None:
        self.cluster.delete("apps/v1", "Deployment", self.workload, NAMESPACE, propagation="Foreground")
        selector = f"slipway.dev/model={self.model.name}"
        wait(lambda: not self.cluster.list("v1", "Pod", NAMESPACE, label_selector=selector))


@pytest.fixture
def release(place: Cluster, faulty: Faults) -> Iterator[Callable[..., Release]]:
    made: list[Release] = []

    def make(**model: Any) -> Release:
        # its pods end at once: there is one GPU, and the next test needs it
        one = Release(
            place, **{"engine": {"drain": 0, "shutdown_timeout": 0} | model.pop("engine", {}), **model}
        )
        one.pod["terminationGracePeriodSeconds"] = 1
        made.append(one)
        return one

    yield make
    faulty.clear()
    for one in made:
        one.remove()


def told(failure: RolloutFailed) -> str:
    return "\n".join([failure.cause, *failure.evidence])


Make = Callable[..., Release]


def test_no_node_has_the_label(release: Make) -> None:
    one = release()
    one.pod["nodeSelector"] = {"workload": "other"}
    failure = one.failure()
    assert failure.cause == "no node has the label it asks for"
    assert "didn't match Pod's node affinity/selector" in told(failure)


def test_the_taint_is_not_tolerated(release: Make) -> None:
    one = release()
    one.pod["tolerations"] = []
    failure = one.failure()
    assert failure.cause == "no node's taints are tolerated"
    assert "untolerated taint {nvidia.com/gpu: true}" in told(failure)


def test_no_gpu_is_free(release: Make) -> None:
    one = release()
    for kind in ("requests", "limits"):
        one.container["resources"][kind]["nvidia.com/gpu"] = "2"
    failure = one.failure()
    assert failure.cause == "no node has a free GPU for it"
    assert "Insufficient nvidia.com/gpu" in told(failure)


def test_the_claims_class_does_not_exist(release: Make, place: Cluster) -> None:
    one = release()
    place.apply(claim("classless", "missing"))
    one.pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = "classless"
    failure = one.failure()
    assert failure.cause == "its cache claim names a StorageClass that does not exist"
    assert 'storageclass.storage.k8s.io "missing" not found' in told(failure)


def test_the_csi_driver_has_no_identity(release: Make, place: Cluster, faulty: Faults) -> None:
    faulty.set("csi-identity")
    one = release()
    place.apply(claim("unprovisioned"))
    one.pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = "unprovisioned"
    failure = one.failure()
    assert failure.cause.startswith("the EBS CSI driver has no AWS identity")
    assert "no EC2 IMDS role found" in told(failure)


def test_the_claim_is_in_another_zone(release: Make, place: Cluster) -> None:
    zone = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1f"]}
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "elsewhere"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "waits",
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-0123456789abcdef0"},
                "claimRef": {"name": "elsewhere", "namespace": NAMESPACE},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}},
            },
        }
    )
    place.apply(claim("elsewhere", volumeName="elsewhere"))
    one = release()
    one.pod["volumes"][0]["persistentVolumeClaim"]["claimName"] = "elsewhere"
    failure = one.failure()
    assert failure.cause == "its cache volume is in another zone than every node that fits"
    assert "volume node affinity conflict" in told(failure)


def test_the_image_does_not_exist(release: Make, faulty: Faults) -> None:
    faulty.set("image-not-found", target="*vllm-openai*")
    failure = release().failure()
    assert failure.cause.startswith("the image cannot be pulled: the registry does not have it")
    assert IMAGE in told(failure)


def test_the_gpus_memory_is_too_small(release: Make, faulty: Faults) -> None:
    faulty.set("engine-oom")
    failure = release().failure()
    assert failure.cause == "the GPU has too little memory for the weights and flags"
    assert "CUDA out of memory" in told(failure)


def test_the_hosts_memory_is_too_small(release: Make, faulty: Faults) -> None:
    faulty.set("engine-slow-load", value=20)
    faulty.set("pod-oom-killed", target="vllm-*")
    failure = release().failure()
    assert failure.cause == "the container was killed: its memory limit is too small to load the model"
    assert "OOMKilled exit 137" in told(failure)


def test_a_flag_is_unknown_to_the_image(release: Make) -> None:
    failure = release(engine={"extra_args": ["--enable-magic"]}).failure()
    assert failure.cause == "vLLM does not know a flag it was given"
    assert "unrecognized arguments: --enable-magic" in told(failure)


def test_the_weights_are_not_on_the_volume(release: Make) -> None:
    one = release()
    one.container["args"][0] = "/models/not-there"
    failure = one.failure()
    assert failure.cause.startswith("vLLM cannot read the weights"), told(failure)
    assert "not-there" in told(failure)


def test_a_gated_repo_is_asked_for_at_serving_time(release: Make) -> None:
    one = release()
    one.container["args"][0] = "meta-llama/Llama-3.1-8B-Instruct"
    failure = one.failure()
    assert failure.cause.startswith("vLLM tried to reach the hub for gated or missing weights")


def test_a_probe_kills_a_load_in_progress(release: Make, faulty: Faults) -> None:
    faulty.set("engine-slow-load", value=60)
    one = release()
    one.container["startupProbe"] |= {"periodSeconds": 1, "failureThreshold": 2}
    failure = one.failure()
    assert failure.cause == "the start-up probe's budget ended while the model was still loading"


def test_a_load_is_slower_than_its_budget(release: Make, faulty: Faults) -> None:
    faulty.set("engine-slow-load", value=60)
    failure = release().failure(seconds=6.0)
    assert failure.cause == "the model is still loading at the end of its start-up budget"
    assert "cold_read_mib_s" in str(failure.next_command)


def test_vllm_dies_while_it_loads(release: Make, faulty: Faults) -> None:
    faulty.set("engine-crash")
    failure = release().failure()
    assert failure.cause in ("vLLM ended by itself", "vLLM ends by itself again and again")
    assert "CUDA error: an illegal memory access" in told(failure)


def test_the_device_plugin_finds_no_gpu(release: Make, place: Cluster, faulty: Faults) -> None:
    faulty.set("gpu-missing")
    node = gpu_node(place)
    wait(lambda: (place.get("v1", "Node", node) or {})["status"]["allocatable"].get("nvidia.com/gpu") == "0")
    failure = release().failure()
    assert failure.cause == "no node has a free GPU for it"


def gpu_node(cluster: Cluster) -> str:
    [node] = cluster.list("v1", "Node", label_selector="workload=inference-gpu")
    return str(node["metadata"]["name"])


def test_the_node_is_lost_while_it_loads(release: Make, place: Cluster, faulty: Faults) -> None:
    faulty.set("engine-slow-load", value=120)
    one = release()
    one.apply()
    selector = f"slipway.dev/model={one.model.name}"
    wait(lambda: any(loading(pod) for pod in place.list("v1", "Pod", NAMESPACE, label_selector=selector)))
    lost = gpu_node(place)
    faulty.set("node-lost", target=lost)
    with pytest.raises(RolloutFailed, match="the node it runs on was lost") as caught:
        one.wait(120.0)
    assert f"node {lost} is not Ready" in told(caught.value)
    faulty.clear("node-lost")  # it comes back
    wait(lambda: not gate.node_lines(place, {"spec": {"nodeName": lost}}), 60.0)


def loading(pod: Document) -> bool:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return "running" in (statuses[0].get("state") or {})


def test_a_release_whose_spot_node_is_reclaimed_comes_up_on_the_next_one(
    release: Make, place: Cluster, faulty: Faults
) -> None:
    faulty.set("engine-slow-load", value=3, count=1)
    one = release()
    one.apply()
    selector = f"slipway.dev/model={one.model.name}"
    wait(lambda: any(loading(pod) for pod in place.list("v1", "Pod", NAMESPACE, label_selector=selector)))
    before = gpu_node(place)
    faulty.set("spot-reclaim", target=before, count=1)
    wait(lambda: place.get("v1", "Node", before) is None, 60.0)
    one.wait(100.0, patience=100.0)
    assert gpu_node(place) != before


def test_an_api_server_that_stumbles_is_asked_again(release: Make, faulty: Faults) -> None:
    one = release()
    faulty.set("api-500", target="PATCH deployments", count=2)
    faulty.set("api-conflict", target=f"services/{one.workload}", count=2)
    faulty.set("api-500", target="GET deployments", count=2)
    one.apply()
    one.wait(patience=20.0)
    assert faulty.active() == []


def test_a_slow_api_server_is_waited_for(release: Make, faulty: Faults) -> None:
    one = release()
    for target in ("PATCH deployments", "GET deployments", "GET pods"):
        faulty.set("api-slow", target=target, value=1.5, count=1)
    one.apply()
    one.wait(patience=60.0)
    assert faulty.active() == []


def test_an_api_server_that_stays_down_is_named(release: Make, faulty: Faults) -> None:
    one = release()
    faulty.set("api-500", target="PATCH deployments")
    with pytest.raises(ClusterError) as caught:
        one.apply()
    assert "api-500" in str(caught.value)


def test_a_throttled_eks_is_asked_again_and_one_that_stays_throttled_is_named(
    place: Cluster, faulty: Faults, eks: EksCluster, aws: Aws
) -> None:
    group = SimpleNamespace(cluster_name=eks.name, gpu_node_group="gpu")
    faulty.set("eks-throttled", count=2)
    try:
        assert describe(aws, group)["status"] == "ACTIVE"  # type: ignore[arg-type]
        faulty.set("eks-throttled")
        with pytest.raises(CloudError, match="Throttling"):
            describe(aws, group)  # type: ignore[arg-type]
    finally:
        faulty.clear()


@pytest.mark.parametrize(
    ("fault", "cause", "said"),
    [
        (
            "capacity",
            "no GPU node comes: EC2 has no capacity for the instance type in its zone",
            "g5.2xlarge capacity",
        ),
        ("quota-zero", "no GPU node comes: the account's vCPU quota is used up", "current vCPU limit of 0"),
    ],
)
def test_a_node_that_does_not_come_is_told_in_ec2s_words(
    release: Make,
    faulty: Faults,
    eks: EksCluster,
    aws: Aws,
    fault: str,
    cause: str,
    said: str,
) -> None:
    one = release()
    for kind in ("requests", "limits"):
        one.container["resources"][kind]["nvidia.com/gpu"] = "2"  # more than the node there is has
    group: Any = SimpleNamespace(cluster_name=eks.name, gpu_node_group="gpu")
    named = {"clusterName": eks.name, "nodegroupName": "gpu"}
    faulty.set(fault)
    try:
        aws.client("eks").update_nodegroup_config(**named, scalingConfig={"desiredSize": 2})
        health = NodeGroupHealth(aws, group)
        wait(lambda: bool(NodeGroupHealth(aws, group)()))
        failure = one.failure(group=health)
    finally:
        aws.client("eks").update_nodegroup_config(**named, scalingConfig={"desiredSize": 1})
        faulty.clear()
    assert failure.cause == cause
    assert said in told(failure)
    assert "Insufficient nvidia.com/gpu" in told(failure)
    wait(lambda: not NodeGroupHealth(aws, group)())


class Door:
    """The gateway in front of one release that is complete."""

    def __init__(self, one: Release) -> None:
        self.one, api = one, one.cluster
        one.apply()
        one.wait(patience=20.0)
        routes = gateway.apply_route(ROOT, api, one.model, one.environment)
        quick = {name: text.replace("timeout 10s", "timeout 1s") for name, text in routes.items()}
        api.patch("v1", "ConfigMap", gateway.ROUTES, {"data": quick}, NAMESPACE)
        for document in gateway.documents(ROOT, one.environment, quick):
            if document["kind"] != "NetworkPolicy":
                api.apply(document)
        deadline = time.monotonic() + 40.0
        self.endpoint = gateway.endpoint_of(api, one.environment, one.model, deadline=deadline)

    def ask(self, key: str | None = None, name: str | None = None) -> str:
        key = key or gateway.read_key(self.one.cluster, NAMESPACE, "slipway-api-key")
        return gate.check_endpoint(self.endpoint.base_url, key, name or self.one.model.name, patience=1.0)

    def ask_until_cut(self) -> gate.NoWayThrough:
        """What is said once the path is cut; a fault that has been switched on takes hold a moment later."""
        found: list[gate.NoWayThrough] = []

        def is_cut() -> bool:
            try:
                self.ask()
            except gate.NoWayThrough as cut:
                found.append(cut)
            return bool(found)

        wait(is_cut)
        return found[0]


def test_the_path_from_the_gateway_is_cut_by_a_policy(release: Make, place: Cluster, faulty: Faults) -> None:
    one = release()
    door = Door(one)
    assert door.ask()
    deny = load(ROOT, "namespace/default-deny.yaml")
    place.apply(deny)  # and no policy that lets the gateway through: what the source documents had
    faulty.set("path-cut", target=f"vllm-{one.model.name}*")
    try:
        cut = door.ask_until_cut()
        failure = network.explain(place, NAMESPACE, one.workload, cut)
    finally:
        place.delete("networking.k8s.io/v1", "NetworkPolicy", "default-deny", NAMESPACE)
    assert failure.cause.startswith("network policies cut the path from the gateway to vLLM")
    assert "default-deny" in failure.cause
    assert "upstream timed out (110: " in told(failure)
    without = network.explain(place, NAMESPACE, one.workload, cut)
    assert "leave the path open" in told(without)


def test_another_name_is_served_and_another_key_is_taken(release: Make) -> None:
    door = Door(release())
    with pytest.raises(RolloutFailed, match="vLLM serves another name than other"):
        door.ask(name="other")
    with pytest.raises(RolloutFailed, match="does not take the API key"):
        door.ask(key="sk-wrong")


def test_a_load_counts_stalls_errors_in_a_200_and_500s_as_what_they_are(
    release: Make, faulty: Faults
) -> None:
    one = release()
    door = Door(one)
    load = Load.model_validate(
        {
            "rate": 20,
            "warmup": "0s",
            "window": "2s",
            "drain": "5s",
            "stall": "1s",
            "prompt_tokens": {"mean": 8},
        }
        | {"output_tokens": {"mean": 8}}
    )
    for name in ("engine-stall", "engine-error-in-200", "engine-500"):
        faulty.set(name, count=2)
    key = gateway.read_key(one.cluster, NAMESPACE, "slipway-api-key")
    report = prove(one.model.model_copy(update={"load": load}), door.endpoint, key, Quiet(), root=ROOT)
    assert report.failures == {"stalled": 2, "error in a 200": 2, "http 500": 2}
    assert report.verdict == "FAIL"
