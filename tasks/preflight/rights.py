"""Ask for the rights that terraform needs, by calls that change nothing, before anything is made.

EC2 answers a dry run by DryRunOperation or UnauthorizedOperation
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html); EKS and IAM are asked for what is not there,
and a denial comes before that is told. One right of each service stands for its policy: the rest is told by the step that
needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, is_denial, is_slow_down
from tasks.preflight.rows import Row
from tasks.records.environment import Environment

SERVER_ERROR = 500
OWN, BESIDE = "slipway-terraform", "slipway-existing"
# of the form EKS gives, and of no association
NO_ASSOCIATION = "a-00000000000000000"


@dataclass(frozen=True)
class Probe:
    """A call that needs `action`, which `policy` of infra/iam allows."""

    action: str
    policy: str
    call: Callable[[Aws], Any]


def probes(environment: Environment) -> Iterator[Probe]:
    """What terraform will need for what this environment makes."""
    name, existing = environment.cluster.name, environment.existing
    if not existing.network:
        yield Probe(
            "ec2:AllocateAddress",
            OWN,
            lambda aws: aws.client("ec2").allocate_address(Domain="vpc", DryRun=True),
        )
    if not existing.node_group:
        template = {
            "LaunchTemplateName": f"{name}-rights",
            "LaunchTemplateData": {"Monitoring": {"Enabled": False}},
        }
        yield Probe(
            "ec2:CreateLaunchTemplate",
            OWN,
            lambda aws: aws.client("ec2").create_launch_template(**template, DryRun=True),
        )
    if existing.cluster:
        yield Probe(
            "eks:DescribePodIdentityAssociation",
            BESIDE,
            lambda aws: aws.client("eks").describe_pod_identity_association(
                clusterName=environment.eks_cluster, associationId=NO_ASSOCIATION
            ),
        )
    else:
        yield Probe(
            "eks:ListNodegroups", OWN, lambda aws: aws.client("eks").list_nodegroups(clusterName=name)
        )
    yield Probe(
        "iam:ListInstanceProfilesForRole",
        OWN,
        lambda aws: aws.client("iam").list_instance_profiles_for_role(RoleName=f"{name}-node"),
    )


def lacking(environment: Environment, aws: Aws) -> list[Probe]:
    """The rights that AWS denies. Raises CloudError, CloudUnavailable."""
    return [probe for probe in probes(environment) if _is_denied(probe, aws)]


def _is_denied(probe: Probe, aws: Aws) -> bool:
    """Whether AWS denies the call. Any other refusal, such as a quota's, is told of a caller who is allowed."""
    with aws_errors(f"asking whether {probe.action} is allowed"):
        try:
            probe.call(aws)
        except ClientError as error:
            if is_denial(error):
                return True
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= SERVER_ERROR or is_slow_down(error):
                raise
    return False


def judge_rights(denied: Sequence[Probe] | None) -> Row:
    """The row. Pure. `denied`: None where an identity asks that does not deploy."""
    if denied is None:
        return Row("warn", "not asked for: this identity only reads, and a worker deploys")
    if not denied:
        return Row("ok", "terraform's policies are there, by a right of each service")
    policies = dict.fromkeys(probe.policy for probe in denied)
    files = ", ".join(f"infra/iam/{policy}.json" for policy in policies)
    return Row(
        "fail",
        f"{', '.join(probe.action for probe in denied)} is not allowed, which a deploy needs: {files}",
        f"aws sts get-caller-identity, then attach {', '.join(policies)} to that identity: docs/running-on-aws.md, 3",
    )
