"""The Resource Groups Tagging API over everything the sandbox has, so that teardown can prove what remains.

moto's own walks its backends. Here it also sees what moto leaves out (launch templates, elastic IPs, VPC endpoints,
ECR repositories) and what the sandbox replaced (EKS, S3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.core import resource_tagging
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.ec2.models import ec2_backends
from moto.resourcegroupstaggingapi import models as tagging_models

from slipway_sandbox.aws.eks import Eks
from slipway_sandbox.aws.s3 import S3
from slipway_sandbox.settings import ACCOUNT_ID

Row = tuple[
    str, str, dict[str, str]
]  # ARN, resource type, tags: the live mapping, or a copy where `write` is given


class Source(TaggableResourcesMixin):  # type: ignore[misc]  # moto has no types
    """One more place resources come from."""

    SERVICE_NAMESPACE = "slipway"

    def __init__(self, rows: Callable[[], Iterable[Row]], owner: Callable[[str], bool]) -> None:
        self._rows, self._owner = rows, owner

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for arn, kind, tags in self._rows():
            yield TaggedResource(arn=arn, tags=dict(tags), resource_type=kind)

    def owns_arn(self, arn: str) -> bool:
        return self._owner(arn)


def extend(eks: Eks, s3: S3) -> None:
    """Make moto's tagging API walk our sources beside its backends (without its own S3, which is empty)."""

    def backends(account_id: str, region_name: str) -> Iterator[TaggableResourcesMixin]:
        for backend in resource_tagging.iter_taggable_backends(account_id, region_name):
            if backend.SERVICE_NAMESPACE != "s3":
                yield backend
        yield Source(lambda: eks.tagged(region_name), lambda arn: arn.startswith("arn:aws:eks:"))
        yield Source(s3.tagged, lambda arn: arn.startswith("arn:aws:s3:"))
        yield Source(lambda: ec2_rows(region_name), lambda arn: False)  # moto's EC2 tags any id itself
        yield Source(lambda: ecr_rows(region_name), lambda arn: False)

    tagging_models.iter_taggable_backends = backends


def ec2_rows(region: str) -> Iterator[Row]:
    """What EC2 tags by id and moto's tagging API leaves out."""
    ec2: Any = ec2_backends[ACCOUNT_ID][region]
    arn = f"arn:aws:ec2:{region}:{ACCOUNT_ID}"
    ids = {
        "launch-template": list(ec2.launch_templates),
        "elastic-ip": [a.allocation_id for a in list(ec2.addresses) if a.allocation_id],
        "vpc-endpoint": list(ec2.vpc_end_points),
    }
    for kind, found in ids.items():
        for identifier in found:
            yield f"{arn}:{kind}/{identifier}", f"ec2:{kind}", dict(ec2.tags.get(identifier, {}))


def ecr_rows(region: str) -> Iterator[Row]:
    from moto.ecr.models import ecr_backends

    ecr: Any = ecr_backends[ACCOUNT_ID][region]
    for repository in list(ecr.repositories.values()):
        tags = ecr.tagger.get_tag_dict_for_resource(repository.arn)
        yield repository.arn, "ecr:repository", tags
