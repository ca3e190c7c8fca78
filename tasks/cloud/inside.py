"""Documents of the Jobs that ask the gateway from inside the cluster, completed from k8s/validation/. Pure but for files."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tasks.cloud import load_balancer, objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.plain_http import at_url
from tasks.cloud.programs import files_of
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError, InputError
from tasks.records.names import GATEWAY, KEY_SECRET, RUN_LABEL, VALIDATION

# One for each process: what an earlier run left is told from what this one made.
RUN = uuid.uuid4().hex[:12]
INPUT = "instructions.json"
ASKS_LABEL = "slipway-asks"  # on a Job's pod that may reach vLLM: k8s/validation/networkpolicy-vllm.yaml
# https://kubernetes.io/docs/concepts/configuration/configmap/: the data of one cannot exceed 1 MiB
LARGEST = 1_000_000
GATEWAY_PORT = 8080  # of the gateway's container, k8s/gateway/deployment.yaml


@dataclass(frozen=True)
class Program:
    """What a Job runs: `python3 -m module instructions.json`. `files`: read by it, by name; kept compressed."""

    name: str
    module: str
    instructions: str
    files: Mapping[str, bytes]
    pods: bool = False  # asks vLLM's pods, with vLLM's own key, instead of the gateway

    @classmethod
    def told(cls, name: str, module: str, **instructions: Any) -> Program:
        """A program that reads its instructions as one JSON object."""
        return cls(name, module, json.dumps(instructions), {})

    def asking_pods(self) -> Program:
        """The same program, which may reach vLLM's pods."""
        return replace(self, pods=True)


def asked_at(cluster: Cluster, environment: Environment, model: str) -> dict[str, str]:
    """Where a program in the cluster asks the model: instructions base_url, connect_to and authority. Raises ClusterError.

    With TLS on an internal load balancer through that, as clients do. Else by the Service's cluster IP: no name to resolve; through
    EKS's own load balancer, which keeps client addresses, a target could not reach itself, and a public one is behind NAT.
    """
    service = cluster.get("v1", "Service", GATEWAY, environment.namespace)
    if environment.gateway.asked_inside_by_tls:
        host = load_balancer.host_of(service)
        if host is None:
            raise ClusterError(
                f"the load balancer of {environment.namespace}/{GATEWAY} has no address",
                next_command=f"kubectl -n {environment.namespace} describe service {GATEWAY}",
            )
        base = load_balancer.base_url(environment, host)
        return at_url(f"{base}/{model}/v1", load_balancer.way_to(environment, host))
    address = str(objects.spec(service).get("clusterIP") or "")
    if not address:
        raise ClusterError(
            f"the Service {environment.namespace}/{GATEWAY} has no cluster IP",
            next_command=f"kubectl -n {environment.namespace} get service {GATEWAY} -o yaml",
        )
    host = f"[{address}]" if ":" in address else address
    return at_url(f"http://{host}:{environment.gateway.port}/{model}/v1")


def policy(environment: Environment) -> Object:
    """Lets the Jobs reach the gateway and nothing else; with TLS its load balancer, by name."""
    document = _in_namespace("networkpolicy", environment)
    if environment.gateway.asked_inside_by_tls:
        by_name = _load("networkpolicy-tls")["spec"]["egress"]
        by_name[0]["to"] = [{"ipBlock": {"cidr": cidr}} for cidr in environment.address_ranges]
        by_name[0]["ports"][0]["port"] = environment.gateway.port
        document["spec"]["egress"] += by_name
    return document


def policies_of_pods(environment: Environment) -> list[Object]:
    """Let a Job that asks pods reach vLLM, and vLLM hear it. They are there as long as such a Job is."""
    return [_in_namespace(name, environment) for name in ("networkpolicy-pairs", "networkpolicy-vllm")]


def _in_namespace(name: str, environment: Environment) -> Object:
    document = _load(name)
    document["metadata"]["namespace"] = environment.namespace
    return document


def job(environment: Environment, model: str, program: Program, *, seconds: float) -> Object:
    """The Job, without the ConfigMap it reads. `seconds`: after which Kubernetes ends it."""
    document = _load("job")
    pod = document["spec"]["template"]["spec"]
    # not the label of serving pods: Service and pod affinity would take this pod for one of them
    labels = {"model": model, RUN_LABEL: RUN, **({ASKS_LABEL: "pods"} if program.pods else {})}
    document["metadata"] |= {"name": program.name, "namespace": environment.namespace}
    for labelled in (document["metadata"], document["spec"]["template"]["metadata"]):
        labelled["labels"] |= labels
    document["spec"]["activeDeadlineSeconds"] = int(seconds) + 1
    gpu = environment.cluster.gpu
    [term] = _node_terms(pod)
    term["matchExpressions"] = [{"key": gpu.label_key, "operator": "NotIn", "values": [gpu.label_value]}]
    [container] = pod["containers"]
    container["image"] = environment.pulled_as(environment.validation.image)
    if program.pods:
        container["env"][0]["valueFrom"]["secretKeyRef"]["name"] = KEY_SECRET
    container["args"] = [program.module, INPUT]
    container["resources"]["requests"]["cpu"] = environment.validation.cpu
    pod["volumes"][0]["configMap"] = {"name": program.name, "items": _items(program)}
    return document


def preview(environment: Environment, model: str) -> Object:
    """A Job as the gate's is, before there is a gateway to ask."""
    return job(environment, model, Program.told(f"gate-{model}", "tasks.rollout.endpoint_check"), seconds=0)


def config_map(environment: Environment, program: Program) -> Object:
    """The program, its instructions and its files. Raises InputError where they do not fit."""
    check_size(program)
    packed = _packed(program)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": program.name,
            "namespace": environment.namespace,
            "labels": {"app": VALIDATION, RUN_LABEL: RUN},
        },
        "data": {_key(path): text for path, text in _texts(program).items()},
        "binaryData": {_key(path): base64.b64encode(content).decode() for path, content in packed.items()},
    }


def check_size(program: Program) -> None:
    """Raises InputError where a program and its files are too large for a ConfigMap."""
    packed = _packed(program)
    size = sum(len(text.encode()) for text in _texts(program).values()) + sum(map(len, packed.values()))
    if size > LARGEST:
        raise InputError(
            f"the load's files are too large for a Job in the cluster: {size:,} bytes of {LARGEST:,}, compressed",
            evidence=[f"{name}: {len(content):,} bytes" for name, content in packed.items()],
            next_command="the same command with --measure-from here, or shorten the file",
        )


def _texts(program: Program) -> dict[str, str]:
    return {**files_of(program.module), INPUT: program.instructions}


def _packed(program: Program) -> dict[str, bytes]:
    return {packed_name(name): gzip.compress(content, mtime=0) for name, content in program.files.items()}


def packed_name(name: str) -> str:
    """What a file of a program is called in the Job."""
    return f"{name}.gz"


def _items(program: Program) -> list[dict[str, str]]:
    paths = [*files_of(program.module), INPUT, *map(packed_name, program.files)]
    return [{"key": _key(path), "path": path} for path in paths]


def _key(path: str) -> str:
    """A ConfigMap's keys have no slashes."""
    return path.replace("/", ".")


def _node_terms(pod: Object) -> list[Object]:
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[Object] = required["nodeSelectorTerms"]
    return terms


def _load(name: str) -> Object:
    document: Object = yaml.safe_load((project_root() / "k8s" / "validation" / f"{name}.yaml").read_text())
    return document
