"""Karpenter in a region of the nodes' tests: its kinds, its chart, and verbs that wait for what they ask."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import helm_python

from slipway_sandbox.apiclient import ApiClient, ApiError, Object
from tests.nodes.conftest import BUSYBOX, Region, eventually

CHARTS = Path(__file__).parents[3] / "sandbox" / "charts"
QUEUE = "karpenter-test"
NODE_POOLS = ApiClient.path("karpenter.sh/v1", "nodepools")
NODE_CLAIMS = ApiClient.path("karpenter.sh/v1", "nodeclaims")
NODE_CLASSES = ApiClient.path("karpenter.k8s.aws/v1", "ec2nodeclasses")


def pool(
    name: str, requirements: list[Object] | None = None, labels: Object | None = None, **spec: Any
) -> Object:
    """A NodePool of cheap on-demand machines; `spec` goes over it."""
    template = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
        "requirements": requirements
        or [
            {"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["m"]},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
        ],
        **spec.pop("template", {}),
    }
    metadata = {"metadata": {"labels": {"pool": name, **(labels or {})}}}
    disruption = {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": "1s",
        "budgets": [{"nodes": "100%"}],
        **spec.pop("disruption", {}),
    }
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {"disruption": disruption, "template": {**metadata, "spec": template}, **spec},
    }


class Fleet:
    """The region with Karpenter in it, and what tests look at."""

    def __init__(self, region: Region) -> None:
        self.region, self.client = region, region.client

    async def add_pool(self, *arguments: Any, **spec: Any) -> None:
        await self.client.create(NODE_POOLS, pool(*arguments, **spec))

    async def pod(self, name: str, pool: str, cpu: str = "100m", **spec: Any) -> None:
        container = {"name": "c", "image": BUSYBOX, "command": ["sleep", "600"]}
        resources = {"requests": {"cpu": cpu}, **spec.pop("resources", {})}
        body = {
            "metadata": {"name": name, **spec.pop("metadata", {})},
            "spec": {
                "nodeSelector": spec.pop("nodeSelector", {"pool": pool}),
                "terminationGracePeriodSeconds": 1,
                "containers": [{**container, "resources": resources}],
                **spec,
            },
        }
        await self.client.create(self.region.path("pods"), body)

    async def claims(self, pool: str) -> list[Object]:
        return await self.client.list(NODE_CLAIMS, labelSelector=f"karpenter.sh/nodepool={pool}")

    async def nodes(self, pool: str) -> list[Object]:
        path = self.client.path("v1", "nodes")
        return await self.client.list(path, labelSelector=f"karpenter.sh/nodepool={pool}")

    async def until_initialized(self, pool: str) -> Object:
        found = await eventually(
            lambda: self.claims(pool), lambda claims: any(map(is_initialized, claims)), 60
        )
        return next(claim for claim in found if is_initialized(claim))

    async def until_gone(self, pool: str) -> None:
        await eventually(lambda: self.claims(pool), lambda claims: not claims, 60)

    async def instance(self, claim: Object) -> Any:
        identity = claim["status"]["providerID"].rpartition("/")[2]
        answer = await asyncio.to_thread(self.region.aws("ec2").describe_instances, InstanceIds=[identity])
        return answer["Reservations"][0]["Instances"][0]

    async def events_of(self, name: str) -> list[str]:
        path = self.client.path("v1", "events", "default")
        items = await self.client.list(path, fieldSelector=f"involvedObject.name={name}")
        return [f"{item['reason']}: {item['message']}" for item in items]


def is_initialized(claim: Object) -> bool:
    return any(
        c["type"] == "Initialized" and c["status"] == "True"
        for c in claim.get("status", {}).get("conditions", [])
    )


def prepare_aws(region: Region) -> str:
    """A queue that EventBridge sends spot warnings to, and the default security group's id."""
    sqs, events = region.aws("sqs"), region.aws("events")
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
    events.put_rule(Name=QUEUE, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=QUEUE, Targets=[{"Id": "queue", "Arn": arn}])
    groups = region.aws("ec2").describe_security_groups()["SecurityGroups"]
    return str(groups[0]["GroupId"])


def node_class(region: Region, group: str) -> Object:
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": "default"},
        "spec": {
            "role": region.role.rpartition("/")[2],
            "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "subnetSelectorTerms": [{"id": subnet} for subnet in region.subnets],
            "securityGroupSelectorTerms": [{"id": group}],
        },
    }


async def made(client: ApiClient, path: str, body: Object) -> bool:
    """Whether the API serves the definition and has taken the object."""
    try:
        await client.create(path, body)
    except ApiError as error:
        assert error.code == 404
        return False
    return True


async def install_karpenter(region: Region) -> None:
    """The chart by Helm, its controller as a pod with a pod identity, and the EC2NodeClass `default`."""
    group = await asyncio.to_thread(prepare_aws, region)
    await region.add_on("eks-pod-identity-agent")
    association = {"namespace": "kube-system", "serviceAccount": "karpenter", "roleArn": region.role}
    create = region.aws("eks").create_pod_identity_association
    await asyncio.to_thread(create, clusterName=region.cluster, **association)
    values = {"settings": {"clusterName": region.cluster, "batchIdleDuration": "0s"}}
    await asyncio.to_thread(install, region, "karpenter", values)
    await eventually(lambda: made(region.client, NODE_CLASSES, node_class(region, group)), bool)


def install(region: Region, chart: str, values: Object) -> None:
    """One of the sandbox's charts in kube-system."""
    kubeconfig = region.settings.root / "clusters" / region.cluster / "pod-kubeconfig"
    with helm_python.Config(kubeconfig_path=str(kubeconfig), namespace="kube-system") as config:
        config.install(
            str(CHARTS / chart), chart, values, namespace="kube-system", wait="hookOnly", timeout=30
        )
