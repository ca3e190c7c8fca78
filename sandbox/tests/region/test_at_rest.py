"""What keeps a resting sandbox small: the big libraries come when a cluster does, not before. Figures: bench/lifecycle.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("slipway_sandbox.region", ["boto3", "botocore", "slipway_sandbox.nodes"]),
        ("slipway_sandbox.supervisor", ["httpx", "aiohttp", "asyncio"]),
        ("slipway_sandbox.kubernetes.server", ["boto3", "botocore", "kubernetes_validate"]),
    ],
)
def test_a_process_starts_without(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {absent} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


def test_service_models_come_without_their_texts() -> None:
    """And otherwise whole: a client made of one makes the same requests."""
    code = """
import json, re
from slipway_sandbox.service_models import read_lean
read_lean()
import botocore.session
session = botocore.session.Session()
model = session.get_component("data_loader").load_service_model("ec2", "service-2")
assert type(model) is dict
assert not re.search('"documentation": "[^"]', json.dumps(model))
names = [member["shape"] for shape in model["shapes"].values() for member in shape.get("members", {}).values()]
assert len({id(name) for name in names}) == len(set(names))  # each name is kept once
session.create_client("s3", region_name="us-east-1")
client = session.create_client("sts", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
print(client.generate_presigned_url("get_caller_identity").split("?")[0])
"""
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=elsewhere
    )
    assert done.stdout.strip() == "https://sts.us-east-1.amazonaws.com/"


def test_awss_managed_policies_are_there_once_and_not_for_every_partition() -> None:
    code = """
import os
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
from slipway_sandbox.aws import managed_policies
managed_policies.extend()
from moto.iam.models import iam_backends
print({name: len(iam_backends["123456789012"][name].managed_policies) > 1000 for name in ("aws", "aws-cn", "aws-us-gov")})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "{'aws': True, 'aws-cn': False, 'aws-us-gov': False}"
