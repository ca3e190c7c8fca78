"""EC2's tables of instance types: read late, and the same as if moto had read them all at its start."""

from __future__ import annotations

import subprocess
import sys

from tests.aws.conftest import Aws

_COMPARE = """
import json, sys
from slipway_sandbox.aws.offerings import read_on_demand
if sys.argv[1] == "late":
    read_on_demand()
from moto.ec2.models import instance_types as tables
from moto.ec2.models import ec2_backends
print(len(tables.INSTANCE_TYPES), {k: len(v) for k, v in tables.INSTANCE_TYPE_OFFERINGS.items()}, file=sys.stderr)
backend = ec2_backends["123456789012"]["eu-west-1"]
wanted = {"instance-type": ["g6.xlarge"]}
offered = [backend.describe_instance_type_offerings(kind, wanted) for kind in ("region", "availability-zone")]
types = backend.describe_instance_types(["g6.xlarge", "m5.large"])
print(json.dumps([offered, types, len(backend.describe_instance_types()), sorted(tables.INSTANCE_FAMILIES)]))
"""


def _tables(when: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _COMPARE, when]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_late_tables_hold_what_moto_reads_at_once_and_nothing_before_they_are_asked() -> None:
    late, whole = _tables("late"), _tables("whole")
    assert late.stdout == whole.stdout
    assert late.stderr.startswith("0 ")
    assert not whole.stderr.startswith("0 ")


def test_a_type_is_offered_in_the_zones_of_its_region_alone(aws: Aws) -> None:
    found = aws.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g5.xlarge"]}]
    )["InstanceTypeOfferings"]
    assert found
    assert {row["Location"][:-1] for row in found} == {aws.settings.region}
    assert {row["InstanceType"] for row in found} == {"g5.xlarge"}
