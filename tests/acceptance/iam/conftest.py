"""A sandbox that is used with the policies of infra/iam and no others, and a project of its own in it.

Three environments: one, the next that it is promoted to, where Karpenter makes the nodes, and one beside an existing cluster, with existing buckets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from slipway_sandbox.testing import EksCluster, start

from tasks.records.catalogue import load_environment
from tests.support.clouds import ACCOUNT
from tests.support.existing import (
    BESIDE,
    PROMETHEUS,
    SHARED,
    add_environment,
    make_bucket,
    make_key,
    platform_cluster,
)
from tests.support.policies import DEPLOYER
from tests.support.project import ENVIRONMENT, NEXT, Project, a_project, copy_project
from tools.iam_policies import rendered, templates

BUCKETS = {"model_bucket": "platform-models", "state_bucket": "platform-states"}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All environments, and the policies of each."""
    folder = tmp_path_factory.mktemp("iam")
    home, policies = folder / "project", folder / "policies"
    policies.mkdir()
    copy_project(home)
    _ask_for_no_speed(home / "models" / "tiny-llama.yaml")
    _ask_for_no_speed(home / "models" / "tiny-streamed.yaml")
    _write_next(home / "environments")
    _write_beside(home)
    for name in (ENVIRONMENT, NEXT, BESIDE):
        environment = load_environment(name, home)
        for policy, template in templates().items():
            text = rendered(template, environment, ACCOUNT)
            (policies / f"{policy}.{name}.json").write_text(text)
    with start(folder / "sandbox", policies=policies) as sandbox:
        yield a_project(sandbox, folder)


def _ask_for_no_speed(model: Path) -> None:
    """Rights do not depend on it, and a busy machine has none."""
    document = yaml.safe_load(model.read_text())
    del document["objectives"]
    model.write_text(yaml.safe_dump(document, sort_keys=False))


def _write_next(environments: Path) -> None:
    document = yaml.safe_load((environments / f"{ENVIRONMENT}.yaml").read_text())
    document |= {"name": NEXT, "namespace": "llm-next", "promote_from": ENVIRONMENT}
    document["cluster"] |= {"name": "slipway-next", "vpc_cidr": "10.1.0.0/16"}
    document["cluster"]["gpu"]["provisioner"] = "karpenter"
    document["storage"] |= {"model_bucket": "slipway-next-models", "state_bucket": "slipway-next-state"}
    document["gateway"]["port"] += 1  # both clusters of a sandbox answer on this machine
    (environments / f"{NEXT}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def _write_beside(home: Path) -> None:
    """Everything that can exist, and what an organisation asks of roles."""
    existing = {"cluster": SHARED, "model_bucket": True, "state_bucket": True, "prometheus": PROMETHEUS}
    roles = {
        "path": "/platform/",
        "permissions_boundary": f"arn:aws:iam::{ACCOUNT}:policy/platform-boundary",
    }
    add_environment(home, BESIDE, 10, existing, storage=BUCKETS, iam=roles)


@pytest.fixture(scope="session")
def shared(project: Project, tmp_path_factory: pytest.TempPathFactory) -> EksCluster:
    """The platform team's cluster and buckets; whoever deploys administers the cluster."""
    key = make_key(project)
    for name in BUCKETS.values():
        make_bucket(project, name, key)
    project.client("iam").create_policy(
        PolicyName="platform-boundary",
        PolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
    )
    deployer = f"arn:aws:iam::{ACCOUNT}:user/{DEPLOYER}"
    return platform_cluster(project, tmp_path_factory.mktemp("shared"), admin=deployer)
