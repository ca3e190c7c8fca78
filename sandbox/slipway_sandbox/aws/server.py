"""Put together: moto, and what the sandbox has of its own in front of it."""

from __future__ import annotations

from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from slipway_sandbox.aws import (
    acm,
    capacity,
    ec2,
    ec2_answers,
    ec2_order,
    ec2_snapshots,
    fleets,
    identity,
    kms_policies,
    kms_signing,
    managed_policies,
    tagging,
    vcpus,
)
from slipway_sandbox.aws.access import Access
from slipway_sandbox.aws.ecr import PullThroughCache
from slipway_sandbox.aws.eks import Eks
from slipway_sandbox.aws.front import Front, Overlay
from slipway_sandbox.aws.guard import Guard
from slipway_sandbox.aws.http import Application, Server, make_server
from slipway_sandbox.aws.pricing import Pricing
from slipway_sandbox.aws.s3 import S3
from slipway_sandbox.aws.service_quotas import ServiceQuotas
from slipway_sandbox.aws.signatures import Sts
from slipway_sandbox.aws.ssm import Parameters
from slipway_sandbox.aws.wire import JsonApi
from slipway_sandbox.faults import Faults
from slipway_sandbox.settings import Settings


def build(settings: Settings) -> Server:
    """A server bound to 127.0.0.1:settings.aws_port; `serve_forever` runs it. Empties the folder `s3` of the root."""
    faults = Faults(settings.faults_file)
    moto = DomainDispatcherApplication(create_backend_app)
    eks, s3 = Eks(settings, faults), S3(settings, faults)
    eks_api = JsonApi("eks", eks)
    services: dict[str, Application] = {
        "ecr": Overlay("ecr", PullThroughCache(), moto),
        "eks": eks_api,
        "pricing": JsonApi("pricing", Pricing()),
        "s3": s3,
        "servicequotas": JsonApi("service-quotas", ServiceQuotas(faults, settings.vcpu_quota)),
        "ssm": Parameters(moto, settings.region),
        "sts": Sts(moto),
    }
    managed_policies.extend()
    acm.extend(settings)
    kms_policies.extend()
    kms_signing.extend()
    identity.add_operator(settings.region)
    ec2.extend(ec2.FastSnapshotRestores(settings.addon_seconds))
    ec2_answers.extend()
    ec2_snapshots.extend(settings.snapshot_seconds)
    ec2_order.extend()
    capacity.extend(faults)
    vcpus.extend(faults, settings.vcpu_quota)  # around it: a quota refuses before capacity does
    fleets.extend()
    tagging.extend(eks, s3)
    front: Application = Front(services, moto, eks)
    if settings.policies:
        identity.add_deployer(settings.region, Path(settings.policies))
        front = Guard(front, Access(settings.root), eks_api, s3)
    return make_server("127.0.0.1", settings.aws_port, front)
