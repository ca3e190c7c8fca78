"""What is passed to the terraform roots is what they ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.infra.variables import (
    cluster_variables,
    infrastructure,
    is_among,
    storage_outputs,
    storage_variables,
    streamed_models,
)
from tasks.records.model import Model
from tasks.records.results import StorageOutputs
from tests.support.builders import ROOT, a_model, an_environment

CALLER = "arn:aws:sts::111122223333:assumed-role/deployer/session"
STORAGE = StorageOutputs(
    bucket="acme-models",
    bucket_arn="arn:aws:s3:::acme-models",
    kms_key_arn="arn:aws:kms:us-east-1:123456789012:key/1",
    hub_token_secret_arn="arn:aws:secretsmanager:us-east-1:123456789012:secret:t",
)
OPEN = an_environment(cluster={"public_access_cidrs": ["203.0.113.0/24"]})
BY_PODS = an_environment(cluster={"gpu": {"provisioner": "karpenter", "instance_type": "g6.2xlarge"}})


def blocks(kind: str, file: Path) -> dict[str, str]:
    """Top-level `kind "name" { … }` blocks of one HCL file, by name: our files end a block with `}` in column 0."""
    found = re.finditer(rf'^{kind} "(\w+)" {{\n(.*?)^}}', file.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {match[1]: match[2] for match in found}


def root(name: str) -> Path:
    return ROOT / "infra" / "terraform" / name


@pytest.mark.parametrize(
    ("stack", "passed"),
    [
        ("storage", storage_variables(an_environment())),
        ("cluster", cluster_variables(an_environment(), STORAGE, CALLER, {})),
        ("cluster", cluster_variables(OPEN, STORAGE, CALLER, {})),
        ("cluster", cluster_variables(BY_PODS, STORAGE, CALLER, {})),
    ],
)
def test_every_variable_passed_exists_and_every_required_one_is_passed(
    stack: str, passed: dict[str, Any]
) -> None:
    declared = blocks("variable", root(stack) / "variables.tf")
    required = {name for name, body in declared.items() if not re.search(r"^  default\b", body, re.MULTILINE)}
    assert declared and required
    assert set(passed) <= set(declared)
    assert required <= set(passed)


STREAMED = a_model(name="a", weights="stream", resources={"memory": "32Gi"})


@pytest.mark.parametrize(
    ("made", "model", "may"),
    [
        ({}, STREAMED, {"a": ["meta-llama/Llama-3.1-8B-Instruct"]}),
        ({}, a_model(name="a"), {}),
        # what may be put back still reads its repo
        ({"a": ["old/repo"]}, STREAMED, {"a": ["meta-llama/Llama-3.1-8B-Instruct", "old/repo"]}),
        ({"a": ["old/repo"], "gone": ["org/gone"]}, a_model(name="a"), {"a": ["old/repo"], "gone": ["org/gone"]}),
        ({"a": ["old/repo"]}, None, {"a": ["old/repo"]}),
    ],
)  # fmt: skip
def test_each_streamed_model_may_read_its_own_repos(
    made: dict[str, list[str]], model: Model | None, may: dict[str, list[str]]
) -> None:
    assert streamed_models(made, model) == may


def test_with_karpenter_no_node_group_is_described() -> None:
    passed = cluster_variables(BY_PODS, STORAGE, CALLER, {})
    assert passed["gpu_provisioner"] == "karpenter"
    assert {name for name in passed if name.startswith("gpu_")} == {
        "gpu_provisioner",
        "gpu_zone",
        "gpu_label",
        "gpu_taint",
    }


def test_an_environment_that_names_no_network_keeps_its_api_private() -> None:
    assert cluster_variables(an_environment(), STORAGE, CALLER, {})["endpoint_public_access"] is False
    opened = cluster_variables(OPEN, STORAGE, CALLER, {})
    assert opened["endpoint_public_access"] is True
    assert opened["endpoint_public_access_cidrs"] == ["203.0.113.0/24"]


@pytest.mark.parametrize(
    ("effect", "written"),
    [("NoSchedule", "NO_SCHEDULE"), ("PreferNoSchedule", "PREFER_NO_SCHEDULE"), ("NoExecute", "NO_EXECUTE")],
)
def test_a_taints_effect_is_spelt_as_eks_does(effect: str, written: str) -> None:
    environment = an_environment(cluster={"gpu": {"taint": {"key": "k", "value": "v", "effect": effect}}})
    assert cluster_variables(environment, STORAGE, CALLER, {})["gpu_taint"] == {
        "key": "k",
        "value": "v",
        "effect": written,
    }


def test_an_image_cache_is_made_and_nodes_may_fill_it() -> None:
    none = an_environment()
    assert storage_variables(none)["image_cache"] is None
    assert cluster_variables(none, STORAGE, CALLER, {})["image_cache_prefix"] == ""
    credential = "arn:aws:secretsmanager:us-east-1:111122223333:secret:ecr-pullthroughcache/hub-x"
    cached = an_environment(
        account="111122223333", storage={"image_cache": {"prefix": "hub", "credential_arn": credential}}
    )
    assert storage_variables(cached)["image_cache"] == {
        "prefix": "hub",
        "upstream": "registry-1.docker.io",
        "credential_arn": credential,
    }
    assert cluster_variables(cached, STORAGE, CALLER, {})["image_cache_prefix"] == "hub"


def test_a_cache_of_docker_hub_needs_a_credential() -> None:
    with pytest.raises(ValueError, match="credential_arn is needed for Docker Hub"):
        an_environment(storage={"image_cache": {}})


@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_system_nodes_fit_their_own_bounds(count: int) -> None:
    passed = cluster_variables(an_environment(cluster={"system": {"count": count}}), STORAGE, CALLER, {})
    assert passed["system_min_size"] <= passed["system_desired_size"] == count <= passed["system_max_size"]


def test_gpu_nodes_start_within_their_own_bounds() -> None:
    passed = cluster_variables(
        an_environment(cluster={"gpu": {"min": 0, "desired": 1, "max": 3}}), STORAGE, CALLER, {}
    )
    assert passed["gpu_min_size"] <= passed["gpu_desired_size"] <= passed["gpu_max_size"]


def test_the_outputs_that_are_read_are_written() -> None:
    storage = dict.fromkeys(blocks("output", root("storage") / "outputs.tf"), "x")
    assert storage_outputs(storage).bucket == "x"
    cluster: dict[str, Any] = dict.fromkeys(blocks("output", root("cluster") / "outputs.tf"), "x")
    made = infrastructure(cluster | {"streamed_models": {"a": ["org/a"]}}, an_environment())
    assert (made.cluster_name, made.gpu_node_group, made.region) == ("x", "x", "us-east-1")
    assert (cluster["streamed_models"], made.streamed) == ("x", (("a", "org/a"),))


@pytest.mark.parametrize(
    ("caller", "principals", "among"),
    [
        ("arn:aws:iam::111122223333:user/ann", ["arn:aws:iam::111122223333:user/ann"], True),
        ("arn:aws:iam::111122223333:user/ann", ["arn:aws:iam::111122223333:user/bob"], False),
        (CALLER, ["arn:aws:iam::111122223333:role/deployer"], True),
        (CALLER, ["arn:aws:iam::111122223333:role/ci/deployer"], True),
        (CALLER, ["arn:aws:iam::444455556666:role/deployer"], False),
        (CALLER, ["arn:aws:iam::111122223333:role/deployer-2"], False),
        (CALLER, ["arn:aws:iam::111122223333:user/deployer"], False),
        (CALLER, [], False),
    ],
)
def test_the_creator_is_bootstrapped_only_where_it_is_not_listed(
    caller: str, principals: list[str], among: bool
) -> None:
    assert is_among(caller, principals) is among
    environment = an_environment(cluster={"admin_principal_arns": principals})
    passed = cluster_variables(environment, STORAGE, caller, {})
    assert passed["bootstrap_cluster_creator_admin_permissions"] is not among


def test_what_an_organisation_asks_for_reaches_both_roots() -> None:
    boundary = "arn:aws:iam::111122223333:policy/boundary"
    environment = an_environment(
        tags={"cost-centre": "42"}, iam={"path": "/platform/", "permissions_boundary": boundary}
    )
    passed = cluster_variables(environment, STORAGE, CALLER, {})
    assert (passed["iam_path"], passed["permissions_boundary_arn"]) == ("/platform/", boundary)
    assert passed["tags"] == storage_variables(environment)["tags"] == {"cost-centre": "42"}
