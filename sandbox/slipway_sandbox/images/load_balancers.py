"""The AWS Load Balancer Controller's stand-in: network load balancers, in AWS, for Services of its loadBalancerClass.

`python -m slipway_sandbox.images.load_balancers --cluster-name=NAME --aws-vpc-id=ID …`, in a pod: the API through $KUBECONFIG, AWS as
its SDKs find it. Order, names and tags as kubernetes-sigs/aws-load-balancer-controller v3.5.0 has them: pkg/service, pkg/deploy/elbv2.
Security groups and targets it does not make: connections go to the Service's pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiClient, ApiError, Informer, Object
from slipway_sandbox.controllers.controller import utc_now
from slipway_sandbox.controllers.events import Recorder
from slipway_sandbox.controllers.writes import Note
from slipway_sandbox.images.operator_pod import FORMAT, client_from_kubeconfig, health, until_told_to_end
from slipway_sandbox.nodes.load_balancers import CLASS, MADE, STATE
from slipway_sandbox.service_models import read_lean

log = logging.getLogger("aws-load-balancer-controller")

FINALIZER = "service.k8s.aws/resources"
PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
HEALTH_PORT = 61779
RETRY_SECONDS = 1.0
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError)
ROLES = {"internal": "kubernetes.io/role/internal-elb", "internet-facing": "kubernetes.io/role/elb"}


class Refused(Exception):
    """What the controller says of a Service that it cannot serve."""


class Cloud:
    """ELB and EC2, one load balancer at a time. Raises botocore's errors, and Refused."""

    def __init__(self, cluster: str, vpc: str) -> None:
        config = Config(retries={"total_max_attempts": 2}, connect_timeout=2, read_timeout=20)
        self._elb: Any = boto3.client("elbv2", config=config)
        self._ec2: Any = boto3.client("ec2", config=config)
        self._cluster, self._vpc = cluster, vpc

    def converge(self, service: Object) -> str:
        """Make the load balancer as the Service asks for it; its ARN."""
        notes = service["metadata"].get("annotations") or {}
        name, tags = name_of(service), self._tags(service, notes)
        arn = self._find(name)
        if arn is None:
            scheme = notes.get(f"{PREFIX}scheme", "internal")
            made = self._elb.create_load_balancer(
                Name=name, Type="network", Scheme=scheme, Subnets=self._subnets(scheme, notes), Tags=tags
            )
            arn = str(made["LoadBalancers"][0]["LoadBalancerArn"])
        there = {
            int(each["Port"]): each for each in self._elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        }
        for port in service["spec"]["ports"]:
            wanted = listener(port, notes)
            found = there.pop(port["port"], None)
            if found and all(found.get(key) == value for key, value in wanted.items()):
                continue
            group = group_of(found) if found else self._group(f"{name[:26]}-{port['port']}", port, tags)
            if found:
                # the real one modifies it; moto 5 has ModifyListener for HTTP, HTTPS and TCP only
                self._elb.delete_listener(ListenerArn=found["ListenerArn"])
            action = {"Type": "forward", "TargetGroupArn": group}
            self._elb.create_listener(LoadBalancerArn=arn, DefaultActions=[action], Tags=tags, **wanted)
        for stale in there.values():
            self._elb.delete_listener(ListenerArn=stale["ListenerArn"])
            self._elb.delete_target_group(TargetGroupArn=group_of(stale))
        return arn

    def remove(self, service: Object) -> None:
        arn = self._find(name_of(service))
        if arn is None:
            return
        groups = self._elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
        for each in self._elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            self._elb.delete_listener(ListenerArn=each["ListenerArn"])
        self._elb.delete_load_balancer(LoadBalancerArn=arn)
        for group in groups:
            self._elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])

    def _find(self, name: str) -> str | None:
        try:
            found = self._elb.describe_load_balancers(Names=[name])["LoadBalancers"]
        except self._elb.exceptions.LoadBalancerNotFoundException:
            return None
        return str(found[0]["LoadBalancerArn"])

    def _group(self, name: str, port: Mapping[str, Any], tags: list[dict[str, str]]) -> str:
        made = self._elb.create_target_group(
            Name=name, Protocol="TCP", Port=port["port"], VpcId=self._vpc, TargetType="ip", Tags=tags
        )
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def _subnets(self, scheme: str, notes: Mapping[str, str]) -> list[str]:
        """Those of the annotation, else those tagged for the scheme (pkg/networking/subnet_resolver.go)."""
        if named := notes.get(f"{PREFIX}subnets"):
            return [each.strip() for each in named.split(",")]
        filters = [
            {"Name": "vpc-id", "Values": [self._vpc]},
            {"Name": f"tag:{ROLES[scheme]}", "Values": ["", "1"]},
        ]
        found = self._ec2.describe_subnets(Filters=filters)["Subnets"]
        if not found:
            raise Refused(f"unable to resolve at least one subnet, evaluated 0 subnets: tag {ROLES[scheme]}")
        return [str(subnet["SubnetId"]) for subnet in found]

    def _tags(self, service: Object, notes: Mapping[str, str]) -> list[dict[str, str]]:
        given = notes.get(f"{PREFIX}additional-resource-tags", "")
        tags = dict(pair.split("=", 1) for pair in given.split(",") if pair)
        metadata = service["metadata"]
        tags |= {
            "elbv2.k8s.aws/cluster": self._cluster,
            "service.k8s.aws/stack": f"{metadata['namespace']}/{metadata['name']}",
            "service.k8s.aws/resource": "LoadBalancer",
        }
        return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def group_of(listener: Mapping[str, Any]) -> str:
    """The target group that a listener forwards to."""
    return str(listener["DefaultActions"][0]["TargetGroupArn"])


def name_of(service: Object) -> str:
    """k8s-NAMESPACE-NAME-HASH, each cut (pkg/service/model_build_load_balancer.go)."""
    metadata = service["metadata"]
    digest = hashlib.sha256(str(metadata["uid"]).encode()).hexdigest()[:10]
    parts = (re.sub(r"[^a-zA-Z0-9]+", "", metadata[key])[:8] for key in ("namespace", "name"))
    return f"k8s-{'-'.join(parts)}-{digest}"


def listener(port: Mapping[str, Any], notes: Mapping[str, str]) -> dict[str, Any]:
    """A port's listener: TLS where the Service names a certificate and, in ssl-ports, this port or none."""
    certificate = notes.get(f"{PREFIX}ssl-cert", "")
    ports = [each.strip() for each in notes.get(f"{PREFIX}ssl-ports", "").split(",") if each]
    if not certificate or (ports and port.get("name") not in ports and str(port["port"]) not in ports):
        return {"Port": port["port"], "Protocol": "TCP"}
    return {
        "Port": port["port"],
        "Protocol": "TLS",
        "Certificates": [{"CertificateArn": each.strip()} for each in certificate.split(",")],
        "SslPolicy": notes.get(f"{PREFIX}ssl-negotiation-policy", "ELBSecurityPolicy-2016-08"),
    }


class Controller:
    """Takes each Service one step further whenever one has changed, and again where AWS refused."""

    def __init__(self, client: ApiClient, cloud: Cloud) -> None:
        self._client, self._cloud = client, cloud
        self._news = asyncio.Event()
        self._services = Informer(client, client.path("v1", "services"), lambda *_: self._news.set())
        self._recorder = Recorder(client, utc_now)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            group.create_task(self._recorder.run())
            await self._services.synced.wait()
            while True:
                self._news.clear()
                for service in list(self._services.objects.values()):
                    if service["spec"].get("loadBalancerClass") == CLASS:
                        await self._one(service)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), RETRY_SECONDS)

    async def _one(self, service: Object) -> None:
        try:
            await self._step(service)
        except (*PASSING, Refused) as error:
            log.warning("Reconciler error: %s", error)
            self._note(service, "FailedDeployModel", f"Failed deploy model due to {error}", warning=True)

    async def _step(self, service: Object) -> None:
        metadata = service["metadata"]
        path = self._client.path("v1", "services", metadata["namespace"], metadata["name"])
        finalizers = list(metadata.get("finalizers") or ())
        if metadata.get("deletionTimestamp"):
            if FINALIZER in finalizers:
                await asyncio.to_thread(self._cloud.remove, service)
                finalizers.remove(FINALIZER)
                await self._client.patch(path, {"metadata": {"finalizers": finalizers}})
            return
        notes = metadata.get("annotations") or {}
        state = digest_of(service)
        if notes.get(STATE) == state:
            return
        if FINALIZER not in finalizers:
            await self._client.patch(path, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        arn = await asyncio.to_thread(self._cloud.converge, service)
        await self._client.patch(path, {"metadata": {"annotations": {MADE: arn, STATE: state}}})
        self._note(service, "SuccessfullyReconciled", "Successfully reconciled")

    def _note(self, service: Object, reason: str, message: str, *, warning: bool = False) -> None:
        about = {"apiVersion": "v1", **service}
        self._recorder.note("service", Note(about, "Service", reason, message, warning=warning))


def digest_of(service: Object) -> str:
    """Of what a load balancer is made by."""
    notes = service["metadata"].get("annotations") or {}
    asked = {key: value for key, value in notes.items() if key.startswith(PREFIX)}
    return hashlib.sha256(json.dumps([asked, service["spec"]["ports"]], sort_keys=True).encode()).hexdigest()[
        :16
    ]


async def _main(arguments: list[str]) -> None:
    read_lean()
    given = dict(each.removeprefix("--").split("=", 1) for each in arguments if "=" in each)
    client = client_from_kubeconfig(Path(os.environ["KUBECONFIG"]))
    cloud = Cloud(given["cluster-name"], given["aws-vpc-id"])
    async with health(os.environ["SLIPWAY_SANDBOX_POD_IP"], HEALTH_PORT), client:
        await until_told_to_end(Controller(client, cloud).run(), log)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORMAT)
    asyncio.run(_main(sys.argv[1:]))
