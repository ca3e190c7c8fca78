"""The provider under real terraform, one small configuration a fact."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.faults import Faults
from sandbox.terraform.provider.server import MAGIC_COOKIE
from tests.sandbox.terraform.workspace import REPOSITORY, Cloud, Workspace

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


def log_group(name: str, days: int = 7, **tags: str) -> str:
    return f"""
resource "aws_cloudwatch_log_group" "this" {{
  name              = "{name}"
  retention_in_days = {days}
  tags              = {json.dumps(tags).replace(":", "=")}
}}
"""


def test_a_bad_taint_effect_is_shown_with_its_line(configured: Configured) -> None:
    text = configured(NODE_GROUP).run("validate", "-no-color", code=1).text
    assert "got NoSchedule" in text
    assert 'resource "aws_eks_node_group" "gpu"' in text


def test_a_missing_required_attribute_is_refused(configured: Configured) -> None:
    text = configured('resource "aws_subnet" "this" {}').run("validate", "-no-color", code=1).text
    assert '"vpc_id" is required' in text


def test_drift_is_seen_and_repaired(configured: Configured, aws: Cloud) -> None:
    workspace = configured(log_group("/drift", 7, team="ml"))
    workspace.apply()
    workspace.plan(changes=False)
    logs = aws.client("logs")
    logs.put_retention_policy(logGroupName="/drift", retentionInDays=30)
    assert "30 -> 7" in workspace.plan(changes=True).text
    workspace.apply()
    assert logs.describe_log_groups(logGroupNamePrefix="/drift")["logGroups"][0]["retentionInDays"] == 7


def test_what_was_deleted_behind_terraform_is_made_again(configured: Configured, aws: Cloud) -> None:
    workspace = configured(log_group("/deleted"))
    workspace.apply()
    aws.client("logs").delete_log_group(logGroupName="/deleted")
    assert workspace.planned() == {"aws_cloudwatch_log_group.this": ["create"]}


def test_a_changed_name_replaces(configured: Configured) -> None:
    workspace = configured(log_group("/old"))
    workspace.apply()
    main = workspace.folder / "main.tf"
    main.write_text(main.read_text().replace("/old", "/new"))
    assert workspace.planned() == {"aws_cloudwatch_log_group.this": ["delete", "create"]}


def test_default_tags_join_a_resources_own(configured: Configured, aws: Cloud) -> None:
    workspace = configured(log_group("/tagged", 7, team="ml"))
    workspace.apply()
    arn = workspace.state()["aws_cloudwatch_log_group.this"]["arn"]
    tags = aws.client("logs").list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == {"Project": "slipway", "team": "ml"}


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
    assert "operation error CreateLogGroup" in text
    assert "ResourceAlreadyExistsException" in text


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
    assert "operation error PutBucketTagging" in text
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
    command = [sys.executable, "-m", "sandbox.terraform.provider"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr.strip()) == (1, "This is a provider plugin: Terraform starts it.")


def test_a_provider_ends_when_terraform_was_killed(tmp_path: Path) -> None:
    """The parent here starts it, reads the handshake, and is gone without a word."""
    parent = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'sandbox.terraform.provider'], stdout=subprocess.PIPE)\n"
        "print(p.pid, p.stdout.readline().decode().strip(), flush=True)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "TF_PLUGIN_MAGIC_COOKIE": MAGIC_COOKIE, "TMPDIR": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", parent], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True,
        timeout=30,
    ).stdout  # fmt: skip
    match = re.fullmatch(r"(\d+) 1\|6\|unix\|(.+)\|grpc\|", shown.strip())
    assert match is not None, shown
    deadline = time.monotonic() + 10
    while Path(match[2]).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(match[2]).exists()
