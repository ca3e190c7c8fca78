"""The connections serving a model needs, and those nobody may have; from the documents that will be applied. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tasks.cloud.reachability import Address, End, Path, Pod
from tasks.records.environment import Environment
from tasks.records.names import WEIGHTS_LABEL

Document = Mapping[str, Any]

# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
POD_IDENTITY_AGENT = Address("the Pod Identity agent", "169.254.170.23")
INSTANCE_METADATA = Address("the instance's metadata", "169.254.169.254")
INTERNET = Address("the internet", "203.0.113.9")  # RFC 5737: an address for documentation
DNS = Pod("DNS", "kube-system", {"k8s-app": "kube-dns"})
VLLM, GATEWAY, WARMING, ASKING = "vllm", "llm-gateway", "model-cache", "slipway-validation"
HOLDER = "llm-holder"


def needed_paths(documents: Sequence[Document], environment: Environment) -> list[Path]:
    """Every path there is an opinion on. Pods are taken from the documents: a label mistyped there is seen here."""
    inside = environment.address_ranges[0].split("/")[0].rsplit(".", 1)[0] + ".77"  # any pod of the VPC
    prometheus = Pod("Prometheus", environment.prometheus.namespace, environment.prometheus.pod_labels)
    strangers = [
        Pod("another pod of the namespace", environment.namespace, {"app": "stranger"}, address=inside),
        Pod("a pod of another namespace", "default", {"app": "stranger"}, address=inside),
        Pod("Grafana", prometheus.namespace, {"app.kubernetes.io/name": "grafana"}, address=inside),
    ]
    balancer = Address("the load balancer", inside)
    outsiders: list[End] = [*strangers, balancer, INTERNET]
    gateways = [pod for pod in pods_of(documents) if pod.name.endswith(GATEWAY)]
    holders = [pod for pod in pods_of(documents) if pod.name.endswith(HOLDER)]
    found: list[Path] = []
    for pod in pods_of(documents):
        if pod.labels.get("app") == ASKING:
            found += _of_the_gate(pod, gateways, strangers)
            continue
        found += _names(pod)
        if pod.name.endswith(GATEWAY):
            found.append(Path(balancer, pod, _port(pod), True, "clients come in through it"))
            found.append(Path(INTERNET, pod, _port(pod), False, "clients come through the load balancer"))
            found.append(Path(pod, INTERNET, 443, False, "the gateway talks to vLLM only"))
            found += [Path(pod, one, _port(one), True, "it hands requests over") for one in holders]
        elif pod in holders:
            found += _of_the_holder(pod, inside, outsiders)
        elif WARMING in pod.labels.get("app", ""):
            found.append(Path(pod, POD_IDENTITY_AGENT, 80, True, "the warm job's credentials for S3"))
            found.append(Path(pod, INTERNET, 443, True, "the warm job reads S3"))
            found += [Path(one, pod, 8000, False, "nothing asks the warm job") for one in strangers]
        else:
            port = _port(pod)
            asking = (*gateways, *holders)
            found += [Path(one, pod, port, True, "requests come this way") for one in asking]
            found.append(Path(prometheus, pod, port, True, "it scrapes /metrics, which scaling needs"))
            found += [
                Path(one, pod, port, False, "only the gateway and Prometheus may ask vLLM")
                for one in outsiders
            ]
            found += _of_vllm(pod)
    return found


def _of_vllm(pod: Pod) -> Iterator[Path]:
    """What serves from the volume has no role: what it cannot reach, it cannot leak to. What streams reads S3."""
    streams = pod.labels.get(WEIGHTS_LABEL) == "stream"
    why = "it streams its weights from S3" if streams else "vLLM serves offline and has no AWS identity"
    yield Path(pod, INTERNET, 443, streams, why)
    yield Path(pod, POD_IDENTITY_AGENT, 80, streams, why)
    yield Path(pod, INSTANCE_METADATA, 80, False, "no pod has the node's identity")


def _of_the_gate(pod: Pod, gateways: Sequence[Pod], strangers: Sequence[Pod]) -> Iterator[Path]:
    """Gate and load ask the gateway by its address: they hold the API key, and have no other way out."""
    for gateway in gateways:
        yield Path(pod, gateway, _port(gateway), True, "gate and load ask the gateway")
    yield Path(pod, INTERNET, 443, False, "gate and load ask the gateway only")
    yield Path(pod, POD_IDENTITY_AGENT, 80, False, "gate and load have no AWS identity")
    yield Path(
        pod, Pod("vLLM", pod.namespace, {"app": VLLM}), 8000, False, "gate and load ask the gateway only"
    )
    for stranger in strangers:
        yield Path(stranger, pod, 8000, False, "nothing asks the gate")


def _of_the_holder(pod: Pod, inside: str, outsiders: Sequence[End]) -> Iterator[Path]:
    """It wakes by the Kubernetes API, whose addresses are in the VPC, and hears the gateway alone."""
    yield Path(pod, Address("the Kubernetes API", inside), 443, True, "it wakes models")
    yield Path(pod, POD_IDENTITY_AGENT, 80, False, "the holder has no AWS identity")
    for one in outsiders:
        yield Path(one, pod, _port(pod), False, "only the gateway may ask the holder")


def pods_of(documents: Sequence[Document]) -> Iterator[Pod]:
    """What the workloads among the documents will start."""
    for document in documents:
        template = (document.get("spec") or {}).get("template") or {}
        if "spec" not in template:
            continue
        ports = {
            str(port.get("name", port["containerPort"])): int(port["containerPort"])
            for container in template["spec"].get("containers") or ()
            for port in container.get("ports") or ()
        }
        metadata = document["metadata"]
        yield Pod(
            metadata["name"],
            metadata.get("namespace", "default"),
            (template.get("metadata") or {}).get("labels") or {},
            ports,
        )


def _names(pod: Pod) -> list[Path]:
    protocols: tuple[Literal["UDP", "TCP"], ...] = ("UDP", "TCP")
    return [Path(pod, DNS, 53, True, "it must resolve names", protocol) for protocol in protocols]


def _port(pod: Pod) -> int:
    return next(iter(pod.ports.values()), 8000)
