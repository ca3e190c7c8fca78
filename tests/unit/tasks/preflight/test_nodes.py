from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.nodes import MIB, InstanceType, allocatable, reserved_cpu, shortages
from tasks.preflight.quota import QuotaNeed, quota_code
from tasks.records.model import Resources

GIB = 2**30
A10G = 22_888 * MIB
G5 = InstanceType("g5.2xlarge", 8, 32 * GIB, 1, A10G, "NVIDIA A10G", 58)


@pytest.mark.parametrize(
    ("vcpus", "cores"), [(1, 0.06), (2, 0.07), (4, 0.08), (8, 0.09), (16, 0.11), (48, 0.19), (192, 0.55)]
)
def test_the_kubelet_keeps_what_the_eks_ami_reserves(vcpus: int, cores: float) -> None:
    assert reserved_cpu(vcpus) == pytest.approx(cores)


def test_a_node_gives_less_than_it_has() -> None:
    room = allocatable(G5, 100)
    assert 7 < room.cpu < 8 - 0.09
    # 255 + 11 x 58 + 100 MiB are reserved, the DaemonSets take their share
    assert 29 * GIB < room.memory < 32 * GIB - (255 + 11 * 58 + 100) * MIB
    assert room.gpus == 1
    assert room.disk == 89 * GIB


@pytest.mark.parametrize(
    ("resources", "short"),
    [
        ({"cpu": "3", "memory": "12Gi", "gpu": 1}, []),
        ({"cpu": "8"}, ["cpu"]),
        ({"memory": "32Gi"}, ["memory"]),
        ({"gpu": 2}, ["nvidia.com/gpu"]),
        ({"cpu": "9", "memory": "64Gi", "gpu": 4}, ["cpu", "memory", "nvidia.com/gpu"]),
        ({"cpu": "7500m", "memory": "28Gi"}, []),
        ({"ephemeral_storage": "89Gi"}, []),
        ({"ephemeral_storage": "90Gi"}, ["ephemeral-storage"]),
    ],
)
def test_what_a_node_cannot_give_is_named(resources: dict[str, Any], short: list[str]) -> None:
    found = shortages(Resources.model_validate(resources), allocatable(G5, 100))
    assert [line.split(":")[0] for line in found] == short


@pytest.mark.parametrize(
    ("instance", "capacity", "code"),
    [
        ("g5.2xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("g6e.xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("g4dn.xlarge", "SPOT", "L-3819A6DF"),
        ("vt1.3xlarge", "ON_DEMAND", "L-DB2E81BA"),
        ("p4d.24xlarge", "ON_DEMAND", "L-417A185B"),
        ("p4d.24xlarge", "SPOT", "L-7212CCBC"),
        ("m6i.large", "ON_DEMAND", None),
        ("trn1.2xlarge", "ON_DEMAND", None),
        ("inf2.xlarge", "SPOT", None),
    ],
)
def test_which_quota_an_instance_type_falls_under(instance: str, capacity: Any, code: str | None) -> None:
    assert quota_code(instance, capacity) == code


@pytest.mark.parametrize(
    ("limit", "used", "needed", "enough"),
    [(8, 0, 8, True), (8, 1, 8, False), (0, 0, 8, False), (16, 8, 8, True), (8, 16, 0, True)],
)
def test_a_quota_is_enough_when_what_is_added_fits(limit: int, used: int, needed: int, enough: bool) -> None:
    assert QuotaNeed("L-1", limit, used, needed).enough is enough
