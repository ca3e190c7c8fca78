"""The provider under real terraform, one small configuration a fact."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway_sandbox.faults import Faults
from slipway_sandbox.terraform.provider.server import MAGIC_COOKIE
from slipway_sandbox.terraform.workspace import Workspace
from tests.terraform.cloud import REPOSITORY, Cloud
from tests.terraform.conftest import HEADER

Configured = Callable[[str], Workspace]

NODE_GROUP = """
resource "aws_eks_node_group" "gpu" {
  cluster_name  = "c"
  node_role_arn = "arn:aws:iam::123456789012:role/node"
  subnet_ids    = ["subnet-1"]

  scaling_config {
    min_size     = 0
    desired_size = 0
    max_size     = 1
  }

  taint {
    key    = "nvidia.com/gpu"
    effect = "NoSchedule"
  }
}
"""


KINDS = ("drifted", "deleted", "renamed", "untouched")
LOG_GROUPS = "".join(
    f"""
resource "aws_cloudwatch_log_group" "{kind}" {{
  name              = "/{kind}"
  retention_in_days = 7
  tags              = {{ team = "ml" }}
}}
"""
    for kind in KINDS
)


@dataclass(frozen=True)
class Changed:
    """Log groups after an apply, each changed in its own way, and what a plan said of them then."""

    workspace: Workspace
    planned: dict[str, str]
    tags: dict[str, str]


@pytest.fixture(scope="module")
def changed(aws: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    folder = tmp_path_factory.mktemp("changed")
    (folder / "main.tf").write_text(HEADER + LOG_GROUPS)
    workspace = Workspace(folder, aws.environment)
    workspace.init()
    workspace.apply()
    logs = aws.client("logs")
    arn = workspace.state()["aws_cloudwatch_log_group.untouched"]["arn"]
    tags = logs.list_tags_for_resource(resourceArn=arn)["tags"]
    logs.put_retention_policy(logGroupName="/drifted", retentionInDays=30)
    logs.delete_log_group(logGroupName="/deleted")
    (folder / "main.tf").write_text(HEADER + LOG_GROUPS.replace('"/renamed"', '"/other"'))
    return Changed(workspace, workspace.planned(), tags)


def test_drift_is_seen(changed: Changed) -> None:
    assert changed.planned["aws_cloudwatch_log_group.drifted"] == "update"


def test_what_was_deleted_behind_terraform_is_to_be_made_again(changed: Changed) -> None:
    assert changed.planned["aws_cloudwatch_log_group.deleted"] == "create"


def test_a_changed_name_replaces(changed: Changed) -> None:
    assert changed.planned["aws_cloudwatch_log_group.renamed"] == "replace"


def test_what_is_as_it_was_stays(changed: Changed) -> None:
    assert "aws_cloudwatch_log_group.untouched" not in changed.planned


def test_default_tags_join_a_resources_own(changed: Changed) -> None:
    assert changed.tags == {"Project": "slipway", "team": "ml"}


def test_drift_is_repaired(changed: Changed, aws: Cloud) -> None:
    changed.workspace.run("apply", "-no-color", "planned")
    groups = {g["logGroupName"]: g for g in aws.client("logs").describe_log_groups()["logGroups"]}
    assert groups["/drifted"]["retentionInDays"] == 7
    assert {"/deleted", "/other"} <= groups.keys()
    assert "/renamed" not in groups


def log_group(name: str) -> str:
    return f'resource "aws_cloudwatch_log_group" "this" {{\n  name = "{name}"\n}}\n'


def test_a_bad_taint_effect_is_shown_with_its_line(configured: Configured) -> None:
    text = configured(NODE_GROUP).run("validate", "-no-color", code=1).text
    assert "got NoSchedule" in text
    assert 'resource "aws_eks_node_group" "gpu"' in text


def test_a_missing_required_attribute_is_refused(configured: Configured) -> None:
    text = configured('resource "aws_subnet" "this" {}').run("validate", "-no-color", code=1).text
    assert '"vpc_id" is required' in text


def test_what_exists_already_is_adopted_by_an_import_block(configured: Configured, aws: Cloud) -> None:
    aws.client("logs").create_log_group(logGroupName="/adopted")
    adopt = 'import {\n  to = aws_cloudwatch_log_group.this\n  id = "/adopted"\n}\n'
    workspace = configured(log_group("/adopted") + adopt)
    assert "1 to import, 0 to add, 1 to change" in workspace.plan(changes=True).text
    workspace.apply()
    workspace.plan(changes=False)


def test_a_route_table_association_is_imported_by_subnet_and_table(
    configured: Configured, aws: Cloud
) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    made = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    workspace = configured(
        f'resource "aws_route_table_association" "this" {{\n  route_table_id = "{table}"\n  subnet_id = "{subnet}"\n}}'
    )
    workspace.run("import", "-no-color", "aws_route_table_association.this", f"{subnet}/{table}")
    workspace.plan(changes=False)
    assert workspace.state()["aws_route_table_association.this"]["id"] == made


def test_a_name_that_is_taken_is_reported_in_awss_words(configured: Configured, aws: Cloud) -> None:
    aws.client("logs").create_log_group(logGroupName="/taken")
    text = configured(log_group("/taken")).run("apply", "-auto-approve", "-no-color", code=1).text
    assert "operation error CloudWatch Logs: CreateLogGroup, https response error StatusCode: 400" in text
    assert ", ResourceAlreadyExistsException: " in text  # a code the service models: no "api error" before it


def test_a_failure_after_creation_keeps_the_id(configured: Configured, aws: Cloud) -> None:
    faults = Faults(aws.settings.faults_file)
    workspace = configured(
        'resource "aws_s3_bucket" "this" {\n  bucket = "half-made"\n  force_destroy = true\n}'
    )
    faults.set("s3-denied", target="PutBucketTagging")
    try:
        text = workspace.run("apply", "-auto-approve", "-no-color", code=1).text
    finally:
        faults.clear()
    assert "operation error S3: PutBucketTagging" in text
    bucket = workspace.state()["aws_s3_bucket.this"]
    assert (bucket["id"], bucket["__tainted"]) == ("half-made", True)
    workspace.apply()  # replaced, not "already exists"
    workspace.plan(changes=False)


def test_a_policy_document_reads_as_hashicorp_writes_it(configured: Configured) -> None:
    workspace = configured("""
data "aws_iam_policy_document" "this" {
  statement {
    actions   = ["s3:GetObject", "s3:ListBucket"]
    resources = ["*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
output "json" { value = jsondecode(data.aws_iam_policy_document.this.json) }
""")
    workspace.apply()
    assert workspace.outputs()["json"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetObject"],
            "Resource": "*",
            "Principal": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]


def test_a_person_who_starts_it_is_told_what_it_is() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TF_PLUGIN_MAGIC_COOKIE"}
    command = [sys.executable, "-m", "slipway_sandbox.terraform.provider"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr.strip()) == (1, "This is a provider plugin: Terraform starts it.")


def test_a_provider_ends_when_terraform_was_killed(tmp_path: Path) -> None:
    """The parent here starts it, listens to its output as Terraform does, and is gone without a word."""
    parent = (
        "import grpc, subprocess, sys, os, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'slipway_sandbox.terraform.provider'], stdout=subprocess.PIPE)\n"
        "handshake = p.stdout.readline().decode().strip()\n"
        "channel = grpc.insecure_channel('unix:' + handshake.split('|')[3])\n"
        "grpc.channel_ready_future(channel).result(timeout=10)\n"
        "output = channel.unary_stream('/plugin.GRPCStdio/StreamStdio')(b'')\n"
        "time.sleep(0.2)\n"
        "print(p.pid, handshake, flush=True)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "TF_PLUGIN_MAGIC_COOKIE": MAGIC_COOKIE, "TMPDIR": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", parent], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True,
        timeout=30,
    ).stdout  # fmt: skip
    match = re.fullmatch(r"(\d+) 1\|6\|unix\|(.+)\|grpc\|", shown.strip())
    assert match is not None, shown
    process = Path(
        "/proc", match[1], "cmdline"
    )  # empty where it ended and nobody has asked for its exit code
    deadline = time.monotonic() + 10
    while process.exists() and process.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not (process.exists() and process.read_bytes())
    assert not Path(match[2]).exists()
