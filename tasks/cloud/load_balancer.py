"""The gateway's load balancer: what its Service says to whoever makes it, and how clients reach it.

With TLS the AWS Load Balancer Controller makes it; annotations as in its v3.5.0, docs/guide/service/annotations.md. Without, EKS's
own cloud provider does.
"""

from __future__ import annotations

from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.cloud.plain_http import Way
from tasks.records.catalogue import project_root
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.names import ENVIRONMENT_TAG
from tasks.records.tls import DEFAULT_PORT, Tls

PREFIX = "service.beta.kubernetes.io/aws-load-balancer"
# of Services that the controller reconciles and the cloud provider leaves alone; fixed once a Service is made
CLASS = "service.k8s.aws/nlb"


def complete(service: Object, environment: Environment) -> None:
    """Set what the environment says of the load balancer in the gateway's Service."""
    gateway, annotations, spec = environment.gateway, service["metadata"]["annotations"], service["spec"]
    spec["ports"][0]["port"] = gateway.port
    spec["loadBalancerSourceRanges"] = source_ranges(environment)
    annotations[f"{PREFIX}-scheme"] = gateway.scheme
    if environment.existing.subnets and gateway.scheme == "internal":
        # without it subnets are found by tags, and those that exist are not tagged for it
        annotations[f"{PREFIX}-subnets"] = ",".join(environment.existing.subnets)
    if gateway.tls is None:
        # `scheme` is what the controller reads, `internal` what the cloud provider does
        annotations[f"{PREFIX}-internal"] = str(gateway.scheme == "internal").lower()
        return
    for of_the_provider in ("type", "internal"):
        annotations.pop(f"{PREFIX}-{of_the_provider}")
    annotations |= by_controller(gateway.tls, environment.name)
    spec["loadBalancerClass"] = CLASS
    # pods are the targets: nothing is to be open on nodes, and a GPU node that goes cuts no stream
    spec["allocateLoadBalancerNodePorts"] = False
    spec["ports"][0]["name"] = "https"


def by_controller(tls: Tls, environment: str) -> dict[str, str]:
    """Annotations of a load balancer that speaks TLS to clients on every port, and TCP to pods."""
    return {
        f"{PREFIX}-nlb-target-type": "ip",
        f"{PREFIX}-ssl-cert": tls.certificate,
        f"{PREFIX}-ssl-ports": "https",
        f"{PREFIX}-ssl-negotiation-policy": tls.policy,
        f"{PREFIX}-backend-protocol": "tcp",
        # with client addresses kept, a node could not reach its own pod through it
        f"{PREFIX}-target-group-attributes": "preserve_client_ip.enabled=false",
        f"{PREFIX}-additional-resource-tags": f"{ENVIRONMENT_TAG}={environment}",
    }


def source_ranges(environment: Environment) -> list[str]:
    """The networks that may ask it: else AWS lets everybody in (cloud-provider-aws, pkg/providers/v1/aws.go)."""
    inside = environment.address_ranges if environment.gateway.asked_inside_by_tls else ()
    return list(dict.fromkeys((*(environment.gateway.clients or environment.address_ranges), *inside)))


def host_of(service: Object | None) -> str | None:
    """The load balancer's first name or address; None where it has none yet."""
    balancer = objects.status(service).get("loadBalancer") or {}
    entry: dict[str, Any] = next(iter(balancer.get("ingress") or ()), {})
    return entry.get("hostname") or entry.get("ip")


def base_url(environment: Environment, host: str) -> str:
    """The gateway's address for clients. `host`: of its load balancer."""
    gateway = environment.gateway
    if gateway.tls is None:
        return f"http://{host}:{gateway.port}"
    port = "" if gateway.port == DEFAULT_PORT else f":{gateway.port}"
    return f"https://{gateway.tls.domain}{port}"


def way_to(environment: Environment, host: str) -> Way:
    """How the gateway is asked through its load balancer, whether or not its domain leads there yet.

    Raises InputError where the authority's file cannot be read.
    """
    return Way(host, authority(environment)) if environment.gateway.tls else Way()


def authority(environment: Environment) -> str:
    """PEM of the private authority that signed the certificate; "" for a public one. Raises InputError."""
    tls = environment.gateway.tls
    if tls is None or tls.authority is None:
        return ""
    try:
        found = (project_root() / tls.authority).read_text()
        Way(authority=found).context()
    except (OSError, ValueError) as error:
        raise InputError(
            f"gateway.tls.authority of {environment.name} cannot be read: {tls.authority}: {error}",
            next_command=f"give the path of a PEM file in environments/{environment.name}.yaml, from {project_root()}",
        ) from None
    return found


def check_kept(service: Object | None, environment: Environment) -> None:
    """Raises InputError where a Service that is there cannot become what is asked: Kubernetes keeps its class."""
    if service is None or objects.spec(service).get("type") != "LoadBalancer":
        return
    has, wanted = objects.spec(service).get("loadBalancerClass"), CLASS if environment.gateway.tls else None
    if has == wanted:
        return
    name = f"{environment.namespace}/{objects.name(service)}"
    raise InputError(
        f"the gateway's load balancer was made {'without' if wanted else 'with'} TLS, and a Service keeps its loadBalancerClass",
        evidence=[
            f"Service {name}: loadBalancerClass {has or 'none'}; gateway.tls asks for {wanted or 'none'}"
        ],
        next_command=f"kubectl -n {environment.namespace} delete service {objects.name(service)}: its address ends; "
        "then the same command, which makes another",
    )
