"""Read from EC2 what an instance type has."""

from __future__ import annotations

from tasks.cloud.aws import Aws, aws_errors


def gpus_of(aws: Aws, instance_type: str) -> int:
    """GPUs of one instance of that type. Raises CloudError."""
    with aws_errors("describing the GPU instance type"):
        found = aws.client("ec2").describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"][0]
    return sum(int(gpu["Count"]) for gpu in (found.get("GpuInfo") or {}).get("Gpus") or ())
