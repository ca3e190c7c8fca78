"""What both roots have made is imported, type by type, into an empty state: one plan a root shows them all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slipway_sandbox.testing import Workspace

from tests.support.roots import ROOTS, Applied, copied

State = dict[str, Any]

# The ID to import by, where it is another than the resource's own: "Import" of each page of the provider's documentation.
IDENTITIES: dict[str, Callable[[State], str]] = {
    "aws_cloudwatch_event_target": lambda s: f"{s['rule']}/{s['target_id']}",
    "aws_eks_access_entry": lambda s: f"{s['cluster_name']}:{s['principal_arn']}",
    "aws_eks_pod_identity_association": lambda s: f"{s['cluster_name']},{s['association_id']}",
    "aws_iam_role_policy_attachment": lambda s: f"{s['role']}/{s['policy_arn']}",
    "aws_route": lambda s: f"{s['route_table_id']}_{s['destination_cidr_block']}",
    "aws_route_table_association": lambda s: f"{s['subnet_id']}/{s['route_table_id']}",
}
# What no API tells: after an import the provider plans to note it, and changes nothing in AWS.
UNTOLD = {
    "aws_eks_addon": {"resolve_conflicts_on_create", "resolve_conflicts_on_update", "preserve"},
    "aws_kms_key": {"deletion_window_in_days", "bypass_policy_lockout_safety_check"},
    "aws_s3_bucket": {"force_destroy"},
    "aws_secretsmanager_secret": {"recovery_window_in_days", "force_overwrite_replica_secret"},
    "aws_launch_template": {"update_default_version"},
}
TYPES = sorted(
    set(
        re.findall(
            r'^resource "(aws_\w+)"',
            "\n".join(f.read_text() for root in ("storage", "cluster") for f in ROOTS.glob(f"{root}/*.tf")),
            re.MULTILINE,
        )
    )
)
LOCAL = 'terraform {\n  backend "local" {}\n}\n'


def imported(original: Workspace, copy: Workspace) -> list[State]:
    """The resource changes of a plan that imports everything `original` has made."""
    (copy.folder / "backend_override.tf").write_text(LOCAL)
    blocks = []
    for address, values in original.state().items():
        kind = address.split(".")[0]
        if kind in TYPES:
            identity = IDENTITIES[kind](values) if kind in IDENTITIES else str(values["id"])
            blocks.append(f'import {{\n  to = {address}\n  id = "{identity}"\n}}\n')
    (copy.folder / "imports.tf").write_text("".join(blocks))
    copy.init()
    copy.run("plan", "-input=false", "-no-color", "-out=planned")
    changes: list[State] = json.loads(copy.run("show", "-json", "planned").text)["resource_changes"]
    return [change for change in changes if change["mode"] == "managed"]


@pytest.fixture(scope="module")
def changes(applied: Applied, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[State]]:
    folder = tmp_path_factory.mktemp("imports")
    found: list[State] = []
    asked = {
        "image_cache": {"prefix": "public", "upstream": "public.ecr.aws"},
        "access_log_bucket": "our-logs",
    }
    # another file of this folder turns them off
    flowing = {"flow_logs": "REJECT"}
    applied.storage.apply(**asked)
    applied.cluster.apply(**flowing)
    for name, original, more in (("storage", applied.storage, asked), ("cluster", applied.cluster, flowing)):
        copy = copied(name, folder / name, original.environment, original.variables | more)
        found += imported(original, copy)
    # and once more with what is made in place of the GPU node group
    by_pods = flowing | {"gpu_provisioner": "karpenter"}
    applied.cluster.apply(**by_pods)
    copy = copied(
        "cluster",
        folder / "karpenter",
        applied.cluster.environment,
        applied.cluster.variables | by_pods,
    )
    found += imported(applied.cluster, copy)
    yield found
    applied.cluster.apply()
    applied.storage.apply()


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_is_imported_and_left_as_it_is(changes: list[State], kind: str) -> None:
    mine = [change for change in changes if change["type"] == kind]
    assert mine, f"no root has a {kind}"
    for change in mine:
        assert change["change"].get("importing"), change["address"]
        before, after = change["change"]["before"], change["change"]["after"]
        # hashicorp/aws reads "" where nothing is set, and plans null: no change to Terraform
        differing = {
            name
            for name in after
            if (after[name], before.get(name)) != (None, "") and after[name] != before.get(name)
        }
        assert differing <= UNTOLD.get(kind, set()), change["address"]
        assert change["change"]["actions"] in (["no-op"], ["update"]), change["address"]
