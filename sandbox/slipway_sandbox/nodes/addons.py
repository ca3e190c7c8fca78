"""Which EKS add-ons of the cluster are there: what runs of the platform depends on them."""

from __future__ import annotations

from botocore.exceptions import ClientError

from slipway_sandbox.nodes.aws import Aws

POD_IDENTITY_AGENT = "eks-pod-identity-agent"
EBS_CSI_DRIVER = "aws-ebs-csi-driver"
SNAPSHOT_CONTROLLER = "snapshot-controller"
# While an add-on is updated its pods are replaced one by one: it goes on working.
WORKING = ("ACTIVE", "UPDATING", "DEGRADED")


class Addons:
    """The add-ons of one cluster, asked of EKS each time."""

    def __init__(self, aws: Aws, cluster: str) -> None:
        self._aws, self._cluster = aws, cluster

    async def works(self, name: str) -> bool:
        """Whether the add-on is installed and its pods serve. Raises botocore's errors."""
        aws = self._aws
        try:
            answer = await aws.call(aws.eks.describe_addon, clusterName=self._cluster, addonName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                return False
            raise
        return answer["addon"]["status"] in WORKING
