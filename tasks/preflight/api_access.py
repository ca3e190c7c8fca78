"""Can the Kubernetes API be reached from here? One row of the preflight table: look, then judge."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.plain_http import UNREACHABLE, ask
from tasks.preflight.rows import Row
from tasks.records.environment import Environment

CONNECT_SECONDS = 5.0
CHECK_IP = "https://checkip.amazonaws.com/"  # AWS's own; answers with the caller's public address


@dataclass(frozen=True)
class ApiSeen:
    """What was seen of the API.

    Args:
        endpoint: of the cluster that is there; "" where it is still to be made.
        error: why no connection to it came about; "" where one did.
        public_cidrs: who may reach it at present.
        address: ours, as AWS sees it; "" where that could not be found.
    """

    endpoint: str = ""
    error: str = ""
    public_cidrs: tuple[str, ...] = ()
    address: str = ""


def observe(environment: Environment, aws: Aws) -> ApiSeen:
    """Connect to the cluster's API where there is one, and find our address where that is needed. Raises CloudError."""
    endpoint, cidrs = _described(aws, environment.eks_cluster)
    error = _connect(endpoint) if endpoint else ""
    if endpoint and not error:
        return ApiSeen(endpoint, "", cidrs)
    return ApiSeen(endpoint, error, cidrs, _our_address(aws))


def judge(environment: Environment, seen: ApiSeen) -> Row:
    """Whether the flows will reach the API: of the cluster that is there, or of the one that is to be made. Pure."""
    allowed = environment.cluster.public_access_cidrs
    if seen.endpoint and not seen.error:
        return Row("ok", f"{urlsplit(seen.endpoint).hostname} answers")
    file = f"environments/{environment.name}.yaml"
    ours = f"[{seen.address or 'ADDRESS'}/32]"
    if seen.endpoint:
        what = f"{urlsplit(seen.endpoint).hostname} cannot be reached from here ({seen.error})"
        if seen.address and contains(allowed, seen.address) and set(allowed) != set(seen.public_cidrs):
            return Row("warn", f"{what}; this run lets in {', '.join(allowed)}, and {seen.address} is in it")
        if environment.existing.cluster:
            return Row("fail", what, f"run where it can be reached, or ask its owner to let {ours} in")
        return Row(
            "fail",
            what,
            f"add {ours} to cluster.public_access_cidrs in {file}, or run where the VPC can be reached",
        )
    if environment.existing.cluster:
        return Row("fail", f"there is no cluster {environment.existing.cluster}", "aws eks list-clusters")
    if not allowed:
        return Row(
            "fail",
            "the API of the cluster to be made is private, and its VPC is not there yet",
            f"set cluster.public_access_cidrs: {ours} in {file}",
        )
    if "0.0.0.0/0" in allowed or (seen.address and contains(allowed, seen.address)):
        return Row(
            "ok",
            f"the cluster to be made lets in {', '.join(allowed)}: also us, {seen.address or 'anywhere'}",
        )
    if not seen.address:
        return Row(
            "warn",
            f"the cluster to be made lets in {', '.join(allowed)}; which address calls from here have is not known",
            f"curl {CHECK_IP}",
        )
    return Row(
        "fail",
        f"calls from here come from {seen.address}, and the cluster to be made lets in {', '.join(allowed)} only",
        f"add {ours} to cluster.public_access_cidrs in {file}",
    )


def contains(blocks: Iterable[str], address: str) -> bool:
    """Whether an address is in one of the blocks."""
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(block, strict=False) for block in blocks)


def _described(aws: Aws, name: str) -> tuple[str, tuple[str, ...]]:
    """Endpoint and public blocks of a cluster; "" where there is none, or where it is still being made."""
    with aws_errors("reading the cluster's endpoint"):
        try:
            cluster = aws.client("eks").describe_cluster(name=name)["cluster"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return "", ()
            raise
    network = cluster.get("resourcesVpcConfig") or {}
    return str(cluster.get("endpoint") or ""), tuple(network.get("publicAccessCidrs") or ())


def _connect(endpoint: str) -> str:
    """Open a connection to the API and close it: why that failed, "" where it did not."""
    url = urlsplit(endpoint)
    try:
        with socket.create_connection((url.hostname or "", url.port or 443), timeout=CONNECT_SECONDS):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)


def _our_address(aws: Aws) -> str:
    """The address that calls from here come from: the local one where nothing translates it, else what AWS is asked."""
    url = urlsplit(aws.client("sts").meta.endpoint_url)
    try:
        family, kind, *_, target = socket.getaddrinfo(
            url.hostname, url.port or 443, type=socket.SOCK_DGRAM, family=socket.AF_INET
        )[0]
        with socket.socket(family, kind) as route:
            # a datagram socket sends nothing when it is connected: it only chooses its own address
            route.connect(target)
            local = ipaddress.ip_address(route.getsockname()[0])
        if local.is_global or local.is_loopback:
            return str(local)
        return str(ipaddress.ip_address(ask(CHECK_IP, seconds=CONNECT_SECONDS).text.strip()))
    except (*UNREACHABLE, ValueError):
        return ""
