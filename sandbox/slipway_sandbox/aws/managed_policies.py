"""AWS's managed policies, in the one partition a sandbox is in.

moto makes a backend of IAM for each partition as soon as anybody asks who he is, each with all 1,582 policies: 24 MB for five.
"""

from __future__ import annotations

from typing import Any

from moto.iam.models import IAMBackend

PARTITION = "aws"


def extend() -> None:
    """Leave the policies of other partitions out, once, before moto answers."""
    read = IAMBackend._init_aws_policies

    def _init_aws_policies(self: Any) -> Any:
        return read(self) if self.region_name == PARTITION else []

    IAMBackend._init_aws_policies = _init_aws_policies
