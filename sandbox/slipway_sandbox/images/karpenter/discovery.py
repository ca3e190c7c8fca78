"""What an EC2NodeClass stands for in AWS: the subnets, security groups and images its terms select, its instance profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from slipway_sandbox.controllers.objects import Object
from slipway_sandbox.images.karpenter.cloud import Cloud
from slipway_sandbox.images.karpenter.tags import tag_filter, tag_list

GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"


class Discovery:
    """Raises botocore's own errors."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def subnets(self, terms: Sequence[Object]) -> list[Object]:
        """[{id, zone, zoneID}] of the subnets any term selects, those with the most free addresses first."""
        found = await self._select("describe_subnets", "Subnets", "SubnetId", "SubnetIds", terms)
        found.sort(key=lambda s: (-int(s["AvailableIpAddressCount"]), s["SubnetId"]))
        return [
            {"id": s["SubnetId"], "zone": s["AvailabilityZone"], "zoneID": s["AvailabilityZoneId"]}
            for s in found
        ]

    async def security_groups(self, terms: Sequence[Object]) -> list[Object]:
        found = await self._select("describe_security_groups", "SecurityGroups", "GroupId", "GroupIds", terms)
        return [
            {"id": g["GroupId"], "name": g["GroupName"]} for g in sorted(found, key=lambda g: g["GroupId"])
        ]

    async def _select(
        self, operation: str, answer: str, identity: str, parameter: str, terms: Sequence[Object]
    ) -> list[Any]:
        chosen: dict[str, Any] = {}
        for term in terms:
            if term.get("id"):
                asked: dict[str, Any] = {parameter: [term["id"]]}
            else:
                filters = [tag_filter(name, value) for name, value in (term.get("tags") or {}).items()]
                if term.get("name"):
                    filters.append({"Name": "group-name", "Values": [term["name"]]})
                asked = {"Filters": filters}
            try:
                found = (await self._cloud.ask("ec2", operation, **asked))[answer]
            except ClientError as error:
                if not error.response["Error"]["Code"].endswith("NotFound"):
                    raise
                continue
            chosen |= {item[identity]: item for item in found}
        return list(chosen.values())

    async def images(self, terms: Sequence[Object], version: str) -> list[Object]:
        """[{id, name, requirements}]: an alias' images from SSM, of its version or as `recommended` says; others by id. GPU types get NVIDIA's."""
        gpu = {"key": GPU_COUNT, "operator": "Exists"}
        no_gpu = {"key": GPU_COUNT, "operator": "DoesNotExist"}
        found: list[Object] = []
        for term in terms:
            if term.get("id"):
                found.append({"id": term["id"], "requirements": []})
                continue
            family, _, wanted = str(term.get("alias") or "").partition("@")
            if family != "al2023":
                continue  # resolved to nothing: the class is not ready, and says so
            base = f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/x86_64"
            for variant, requirement in (("nvidia", gpu), ("standard", no_gpu)):
                named = f"amazon-eks-node-al2023-x86_64-{variant}-{version}-{wanted}"
                path = f"{base}/{variant}/{'recommended' if wanted == 'latest' else named}"
                try:
                    image, name = [
                        await self._parameter(f"{path}/{field}") for field in ("image_id", "image_name")
                    ]
                except ClientError as error:
                    if error.response["Error"]["Code"] != "ParameterNotFound":
                        raise
                    continue
                found.append({"id": image, "name": name, "requirements": [requirement]})
        return found

    async def _parameter(self, name: str) -> str:
        return str((await self._cloud.ask("ssm", "get_parameter", Name=name))["Parameter"]["Value"])

    async def ensure_profile(self, name: str, role: str, tags: Mapping[str, str]) -> None:
        """An instance profile of that name with the role in it."""
        try:
            profile = (await self._cloud.ask("iam", "get_instance_profile", InstanceProfileName=name))[
                "InstanceProfile"
            ]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            made = await self._cloud.ask(
                "iam", "create_instance_profile", InstanceProfileName=name, Tags=tag_list(tags)
            )
            profile = made["InstanceProfile"]
        if not any(held["RoleName"] == role for held in profile["Roles"]):
            await self._cloud.ask(
                "iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=role
            )

    async def delete_profile(self, name: str) -> None:
        try:
            profile = (await self._cloud.ask("iam", "get_instance_profile", InstanceProfileName=name))[
                "InstanceProfile"
            ]
            for held in profile["Roles"]:
                await self._cloud.ask(
                    "iam",
                    "remove_role_from_instance_profile",
                    InstanceProfileName=name,
                    RoleName=held["RoleName"],
                )
            await self._cloud.ask("iam", "delete_instance_profile", InstanceProfileName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
