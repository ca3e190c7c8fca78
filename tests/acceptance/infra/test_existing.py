"""The cluster root over what exists already, and over states of before it could be given any."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from slipway_sandbox.testing import EksCluster, Sandbox

from tests.support.roots import ROOTS, STATE_BUCKET, Applied, copied, initialise

CLUSTER = ROOTS / "cluster"
NETWORK_TYPES = {
    "aws_default_security_group",
    "aws_eip",
    "aws_flow_log",
    "aws_internet_gateway",
    "aws_nat_gateway",
    "aws_route",
    "aws_route_table",
    "aws_route_table_association",
    "aws_security_group",
    "aws_subnet",
    "aws_vpc",
    "aws_vpc_endpoint",
    "aws_vpc_security_group_ingress_rule",
}


def moved_blocks() -> dict[str, str]:
    """New address -> old address of every resource that got a count."""
    text = "\n".join(file.read_text() for file in CLUSTER.glob("*.tf"))
    found = re.findall(r"^moved {\n  from = (\S+)\n  to   = (\S+\[0\])\n}", text, re.MULTILINE)
    return {new: old for old, new in found}


def test_everything_that_is_made_or_found_is_moved_from_where_older_states_have_it() -> None:
    text = "\n".join(file.read_text() for file in CLUSTER.glob("*.tf"))
    counted = re.findall(r'^resource "(\w+)" "(\w+)" {\n  count += local\.makes_\w+\n', text, re.MULTILINE)
    assert len(counted) >= 15
    assert set(moved_blocks()) == {f"{kind}.{name}[0]" for kind, name in counted}


def test_a_state_of_before_is_moved_and_nothing_is_changed_or_destroyed(
    applied: Applied, tmp_path: Path
) -> None:
    s3 = applied.aws.client("s3")
    state = json.loads(s3.get_object(Bucket=STATE_BUCKET, Key="cluster.tfstate")["Body"].read())
    moved = set(moved_blocks().values())
    unmoved = set(moved)
    for resource in state["resources"]:
        address = f"{resource['type']}.{resource['name']}"
        if resource["mode"] == "managed" and address in moved:
            [instance] = resource["instances"]
            assert instance.pop("index_key") == 0
            unmoved.discard(address)
    assert not unmoved, "the state of the test has none of these"
    s3.put_object(Bucket=STATE_BUCKET, Key="before.tfstate", Body=json.dumps(state).encode())
    now = copied("cluster", tmp_path / "now", applied.cluster.environment, applied.cluster.variables)
    initialise(now, "before.tfstate")
    assert now.planned() == dict.fromkeys(moved_blocks(), "move")


# ------------------------------------------------------------------ what is planned beside what exists


@pytest.fixture(scope="module")
def shared(infra_aws: Sandbox) -> EksCluster:
    return infra_aws.make_cluster("shared")


def network(shared: EksCluster) -> dict[str, Any]:
    described = shared.describe()["resourcesVpcConfig"]
    return {
        "vpc_id": described["vpcId"],
        "cidrs": ["10.0.0.0/16"],
        "subnet_ids": list(shared.subnets),
        "zones": ["us-east-1a", "us-east-1b"],
    }


def planned(applied: Applied, folder: Path, **variables: Any) -> Counter[str]:
    """How many of each type a first plan makes, under a name of its own."""
    own = {"name": "slipway-own", "environment": "own", "image_cache_prefix": "slipway"}
    root = copied("cluster", folder, applied.cluster.environment, applied.cluster.variables | own | variables)
    initialise(root, f"planned-{folder.name}.tfstate")
    found = root.planned()
    assert set(found.values()) == {"create"}
    return Counter(address.split(".")[0] for address in found)


def test_a_vpc_that_exists_gets_cluster_and_nodes_and_no_network(
    applied: Applied, shared: EksCluster, tmp_path: Path
) -> None:
    found = planned(applied, tmp_path / "vpc", existing_network=network(shared))
    assert not NETWORK_TYPES & set(found)
    assert (found["aws_eks_cluster"], found["aws_eks_node_group"], found["aws_eks_addon"]) == (1, 2, 6)


def found_cluster(shared: EksCluster) -> dict[str, Any]:
    described = shared.describe()
    return {
        "name": "shared",
        "version": described["version"],
        "endpoint": described["endpoint"],
        "certificate_authority": described["certificateAuthority"]["data"],
    }


def test_a_cluster_that_exists_gets_gpu_nodes_and_roles_alone(
    applied: Applied, shared: EksCluster, tmp_path: Path
) -> None:
    found = planned(
        applied,
        tmp_path / "cluster",
        existing_cluster=found_cluster(shared),
        existing_network=network(shared),
    )
    assert found == {
        "aws_eks_node_group": 1,
        "aws_eks_pod_identity_association": 1,
        # of the nodes, and of the pods that warm caches
        "aws_iam_role": 2,
        "aws_iam_role_policy": 2,
        "aws_iam_role_policy_attachment": 3,
        "aws_launch_template": 1,
    }


def test_a_node_group_that_exists_leaves_the_warming_pods_role(
    applied: Applied, shared: EksCluster, tmp_path: Path
) -> None:
    found = planned(
        applied,
        tmp_path / "group",
        existing_cluster=found_cluster(shared),
        existing_network=network(shared),
        existing_gpu_node_group="theirs",
    )
    assert found == {"aws_eks_pod_identity_association": 1, "aws_iam_role": 1, "aws_iam_role_policy": 1}


def test_what_an_organisation_asks_of_roles_and_tags_is_on_all_that_is_made(
    applied: Applied, shared: EksCluster, tmp_path: Path
) -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    wishes = {"iam_path": "/platform/", "permissions_boundary_arn": boundary, "tags": {"cost-centre": "42"}}
    root = copied("cluster", tmp_path / "wishes", applied.cluster.environment, applied.cluster.variables)
    initialise(root, "wishes.tfstate")
    root.planned(**wishes, name="slipway-own", environment="own")
    changes = json.loads(root.run("show", "-json", "planned").text)["resource_changes"]
    made = [change["change"]["after"] for change in changes if change["mode"] == "managed"]
    tagged = [each["tags_all"] for each in made if each.get("tags_all") is not None]
    assert len(tagged) > 20
    assert all(tags["cost-centre"] == "42" and tags["slipway:environment"] == "own" for tags in tagged)
    roles = [change["change"]["after"] for change in changes if change["type"] == "aws_iam_role"]
    assert {(role["path"], role["permissions_boundary"]) for role in roles} == {("/platform/", boundary)}
