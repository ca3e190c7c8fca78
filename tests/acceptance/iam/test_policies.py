"""The lifecycle under exactly the policies of infra/iam: nothing is denied, and nothing is allowed that no run needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml
from slipway_sandbox.testing import EksCluster

from tests.support.clock import until
from tests.support.existing import BESIDE
from tests.support.policies import without
from tests.support.project import ENVIRONMENT, NEXT, Project, edit
from tools.iam_policies import POLICIES, templates

Decision = dict[str, Any]
DELETED = ("--models", "delete", "--volumes", "delete")
PHASES: Mapping[str, tuple[str, ...]] = {
    "preflight": ("preflight", "tiny-llama", "-e", ENVIRONMENT),
    "deploy": ("deploy", "tiny-llama", "-e", ENVIRONMENT),
    "second release": ("deploy", "tiny-llama", "-e", ENVIRONMENT),
    "rollback": ("rollback", "tiny-llama", "-e", ENVIRONMENT),
    "drift": ("drift", "-e", ENVIRONMENT),
    "scale-down": ("scale-down", "tiny-llama", "-e", ENVIRONMENT),
    "wake": ("wake", "tiny-llama", "-e", ENVIRONMENT),
    "validate": ("validate", "tiny-llama", "-e", ENVIRONMENT),
    "streamed": ("deploy", "tiny-streamed", "-e", ENVIRONMENT),
    "promote": ("promote", "tiny-llama", "-e", NEXT, "--yes"),
    "teardown of the next": ("teardown", "-e", NEXT, *DELETED),
    "teardown": ("teardown", "-e", ENVIRONMENT, *DELETED),
    "deploy beside what exists": ("deploy", "tiny-llama", "-e", BESIDE),
    "teardown beside what exists": ("teardown", "-e", BESIDE, *DELETED),
}
WITHOUT_TERRAFORM = ("rollback", "scale-down", "wake")
BESIDES = [phase for phase in PHASES if phase.endswith("what exists")]
FAILED, PREFLIGHT = 1, 3

pytestmark = [pytest.mark.lifecycle, pytest.mark.long, pytest.mark.timeout(1500)]


def refused_for(project: Project, where: str, code: int, *said: str) -> None:
    """A deploy is refused, and no bucket is made for it."""
    buckets = project.client("s3").list_buckets()["Buckets"]
    project.run("deploy", "tiny-llama", "-e", where).refused(code, *said)
    assert project.client("s3").list_buckets()["Buckets"] == buckets


def test_an_identity_without_rights_is_refused_before_anything_is_made(project: Project) -> None:
    with without(project, *templates()):
        refused_for(
            project,
            ENVIRONMENT,
            FAILED,
            r"error: .*: ec2:\w+ is not allowed on \*",
            r"infra/iam/slipway-run\.json",
        )


def test_an_identity_without_terraforms_policy_is_refused_before_anything_is_made(project: Project) -> None:
    with without(project, "slipway-terraform"):
        refused_for(
            project,
            ENVIRONMENT,
            PREFLIGHT,
            "error: .*rights: ec2:AllocateAddress, ec2:CreateLaunchTemplate, eks:ListNodegroups, "
            "iam:ListInstanceProfilesForRole is not allowed, .*infra/iam/slipway-terraform.json",
        )


@pytest.fixture(scope="module")
def decisions(project: Project, request: pytest.FixtureRequest) -> Mapping[str, list[Decision]]:
    """What IAM was asked in each phase. A phase that fails ends the run, and its denials say why."""
    found = {}
    model = project.home / "models" / "tiny-llama.yaml"
    original = model.read_text()
    for phase, words in PHASES.items():
        if phase in BESIDES:
            # not before: its Prometheus and its KEDA would run beside all the others
            request.getfixturevalue("shared")
        before = len(project.sandbox.decisions())
        if phase == "second release":
            edit(model, {"engine": {"max_num_seqs": 7}})
        run_until_done(project, phase, words)
        if phase == "rollback":
            # only what is proven as its file says is promoted
            model.write_text(original)
        found[phase] = project.sandbox.decisions()[before:]
    return found


def run_until_done(project: Project, phase: str, words: tuple[str, ...]) -> None:
    """Scale-down is asked again until the model has been idle for long enough."""

    def done() -> bool:
        before = len(project.sandbox.decisions())
        outcome = project.run(*words)
        denied = explained(project.sandbox.decisions()[before:])
        assert outcome.code == 0, f"{phase}: {denied}\n{outcome.output}"
        return phase != "scale-down" or "scaled to zero" in outcome.output

    until(done, 120)


def explained(decisions: list[Decision]) -> list[str]:
    return [
        f"{each['action']} on {each['resource']}: no statement of {', '.join(templates())} allows it to {each['who']}"
        for each in decisions
        if not each["allowed_by"]
    ]


def allowing(decision: Decision) -> set[str]:
    """The policies that allow it, without the environment's name."""
    return {name.split(".")[0] for name in decision["allowed_by"]}


@pytest.mark.parametrize("phase", PHASES)
def test_no_call_is_denied(decisions: Mapping[str, list[Decision]], phase: str) -> None:
    assert decisions[phase]
    assert explained(decisions[phase]) == []


@pytest.mark.parametrize("phase", WITHOUT_TERRAFORM)
def test_what_runs_no_terraform_needs_slipway_run_alone(
    decisions: Mapping[str, list[Decision]], phase: str
) -> None:
    own = [each for each in decisions[phase] if ":user/" in each["who"]]
    assert {each["action"] for each in own if "slipway-run" not in allowing(each)} == set()


@pytest.mark.parametrize("phase", BESIDES)
def test_beside_what_exists_the_policies_of_that_environment_are_enough(
    decisions: Mapping[str, list[Decision]], phase: str
) -> None:
    own = [each for each in decisions[phase] if ":user/" in each["who"]]
    assert own
    lacking = [each for each in own if not any(f".{BESIDE}/" in name for name in each["allowed_by"])]
    assert {f"{each['action']} on {each['resource']}" for each in lacking} == set()


def test_pods_that_warm_caches_read_with_their_own_role(decisions: Mapping[str, list[Decision]]) -> None:
    roles = [each for each in decisions["deploy"] if ":assumed-role/slipway-sandbox-cache/" in each["who"]]
    assert {each["action"] for each in roles} == {"s3:GetObject", "kms:Decrypt"}


def test_pods_that_stream_read_one_repo_with_their_own_role(decisions: Mapping[str, list[Decision]]) -> None:
    roles = [each for each in decisions["streamed"] if ":assumed-role/slipway-sandbox-stream-" in each["who"]]
    assert {each["action"] for each in roles} == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    read = {each["resource"] for each in roles if each["action"] == "s3:GetObject"}
    assert all(each.startswith("arn:aws:s3:::slipway-sandbox-models/slipway/tiny-llama/") for each in read)


def test_karpenter_works_with_its_own_role_and_every_statement_of_it_that_makes_or_ends(
    decisions: Mapping[str, list[Decision]],
) -> None:
    by = {
        phase: {
            each["action"]
            for each in decisions[phase]
            if ":assumed-role/slipway-next-karpenter/" in each["who"]
        }
        for phase in ("promote", "teardown of the next")
    }
    assert {
        "ec2:CreateFleet",
        "ec2:CreateLaunchTemplate",
        "ec2:CreateTags",
        "iam:CreateInstanceProfile",
        "iam:PassRole",
        "sqs:ReceiveMessage",
    } <= by["promote"]
    ended = {"ec2:TerminateInstances", "ec2:DeleteLaunchTemplate", "iam:DeleteInstanceProfile"}
    assert ended <= by["teardown of the next"]


def statements() -> Iterator[tuple[str, str, str]]:
    """(policy, sid, action or pattern) of every policy."""
    for policy, template in templates().items():
        for statement in json.loads(template)["Statement"]:
            listed = statement["Action"]
            for action in [listed] if isinstance(listed, str) else listed:
                yield policy, statement["Sid"], action


def test_an_action_no_run_needs_stays_only_with_a_reason(decisions: Mapping[str, list[Decision]]) -> None:
    kept: dict[str, str] = yaml.safe_load((POLICIES / "kept.yaml").read_text())
    asked = [each for phase in decisions.values() for each in phase]
    used = {
        (name.split(".")[0], name.rsplit("/", 1)[1], each["action"])
        for each in asked
        for name in each["allowed_by"]
    }
    unused = {
        f"{policy}/{sid}: {action}"
        for policy, sid, action in statements()
        if not any((policy, sid) == one[:2] and fnmatchcase(one[2], action) for one in used)
    }
    assert unused - kept.keys() == set(), "no run needs it: take it away, or say in kept.yaml why it stays"
    assert kept.keys() - unused == set(), "a run needs it: kept.yaml need not say why it stays"


def test_beside_a_cluster_the_action_that_is_missing_is_named_with_its_policy(
    project: Project, decisions: Mapping[str, list[Decision]], shared: EksCluster
) -> None:
    with without(project, "slipway-existing"):
        refused_for(
            project,
            BESIDE,
            FAILED,
            f"error: .*eks:DescribeCluster is not allowed on arn:aws:eks:.*cluster/{shared.name}",
            r"infra/iam/slipway-existing\.json",
        )
