"""infra/terraform/ci: who may take the role, and that it is enough for preflight and for nothing else."""

from __future__ import annotations

import json
import os
import shutil
import string
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
import yaml
from botocore.exceptions import ClientError
from slipway_sandbox.testing import Workspace, start

from tests.support.builders import ROOT
from tests.support.clouds import ACCOUNT
from tests.support.project import BUCKET, CLUSTER, ENVIRONMENT, STATE, Project, a_project, copy_project
from tests.support.repository import commit, git
from tests.support.roots import STATE_BUCKET, copied, initialise
from tests.support.runner import Runner, put_programs

ISSUER = "token.actions.githubusercontent.com"
SUBJECT = "repo:acme/serving:environment:sandbox-preflight"
VALUES: dict[str, Any] = {
    "region": "us-east-1",
    "name": CLUSTER,
    "environment": ENVIRONMENT,
    "buckets": [BUCKET, STATE],
    "subjects": [SUBJECT],
}
# asked where the account has no value of its own for a quota, or subnets with network interfaces to count
NOT_ASKED_HERE = {
    "servicequotas:GetAWSDefaultServiceQuota",
    "ec2:DescribeSubnets",
    "ec2:DescribeSpotPriceHistory",  # of an environment whose nodes may be spot
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A sandbox that holds everybody to their policies, used by somebody who may do everything."""
    folder = tmp_path_factory.mktemp("ci")
    home, policies = folder / "project", folder / "policies"
    policies.mkdir()
    everything = {"Sid": "Everything", "Effect": "Allow", "Action": "*", "Resource": "*"}
    (policies / "everything.json").write_text(
        json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    )
    copy_project(home)
    with start(folder / "sandbox", parts=("aws", "hub"), policies=policies) as sandbox:
        sandbox.client("s3").create_bucket(Bucket=STATE_BUCKET)
        made = a_project(sandbox, folder)
        # as on CI's runner, where no server of Prefect is named
        variables = {key: value for key, value in made.environment.items() if key != "PREFECT_API_URL"}
        yield replace(made, environment=variables)


@pytest.fixture(scope="module")
def root(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copied("ci", tmp_path_factory.mktemp("root") / "ci", project.environment, VALUES)
    initialise(workspace, "ci.tfstate")
    workspace.apply()
    return workspace


@pytest.fixture(scope="module")
def role(project: Project, root: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = project.client("iam").get_role(RoleName=f"{CLUSTER}-ci")["Role"]
    return found


def test_only_whole_subjects_of_the_issuer_may_take_the_role(
    project: Project, root: Workspace, role: dict[str, Any]
) -> None:
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
    assert root.outputs() == {"role_arn": role["Arn"], "provider_arn": provider}
    shown = project.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=provider)
    assert shown["ClientIDList"] == ["sts.amazonaws.com"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": provider}
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": SUBJECT}
    }


def test_the_boundary_keeps_the_role_to_reading(role: dict[str, Any]) -> None:
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == "arn:aws:iam::aws:policy/ReadOnlyAccess"


def test_a_second_plan_is_clean(root: Workspace) -> None:
    root.plan(changes=False)


def test_an_account_that_has_the_provider_keeps_it(project: Project, root: Workspace, tmp_path: Path) -> None:
    provider = root.outputs()["provider_arn"]
    more = {"name": "slipway-other", "existing_provider_arn": provider}
    other = copied("ci", tmp_path / "ci", project.environment, VALUES | more)
    initialise(other, "other.tfstate")
    assert sorted(other.planned()) == ["aws_iam_role.ci", "aws_iam_role_policy.preflight"]


def test_gitlab_is_another_issuer(project: Project, tmp_path: Path) -> None:
    subject = "project_path:acme/serving:ref_type:branch"
    more = {"name": "slipway-gitlab", "issuer": "gitlab.com", "subjects": [subject]}
    workspace = copied("ci", tmp_path / "ci", project.environment, VALUES | more)
    initialise(workspace, "gitlab.tfstate")
    workspace.apply()
    try:
        made = project.client("iam").get_role(RoleName="slipway-gitlab-ci")["Role"]
        [statement] = made["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Condition"]["StringEquals"]["gitlab.com:sub"] == subject
    finally:
        workspace.run("destroy", "-input=false", "-no-color", "-auto-approve")


def as_role(project: Project, role: dict[str, Any]) -> dict[str, str]:
    """Credentials of the role, as STS gives them for a token."""
    given = project.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="pull-request")[
        "Credentials"
    ]
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


def test_preflight_needs_the_role_and_nothing_else(project: Project, role: dict[str, Any]) -> None:
    before = len(project.sandbox.decisions())
    done = project.run(
        "preflight", "tiny-llama", "-e", ENVIRONMENT, "--as-reader", **as_role(project, role)
    ).succeeded()
    assert "warn  rights        not asked for" in done.output
    asked = project.sandbox.decisions()[before:]
    assert all(f":assumed-role/{CLUSTER}-ci/" in one["who"] for one in asked)
    assert [one for one in asked if not one["allowed_by"]] == []
    policy = project.client("iam").get_role_policy(RoleName=f"{CLUSTER}-ci", PolicyName="preflight")
    listed = [statement["Action"] for statement in policy["PolicyDocument"]["Statement"]]
    allowed = {action for each in listed for action in ([each] if isinstance(each, str) else each)}
    assert allowed - {one["action"] for one in asked} == NOT_ASKED_HERE


def test_the_role_can_make_nothing(project: Project, role: dict[str, Any]) -> None:
    given = as_role(project, role)
    s3 = project.sandbox.session().client(
        "s3",
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=given["AWS_SESSION_TOKEN"],
    )
    with pytest.raises(ClientError, match="is not authorized to perform"):
        s3.create_bucket(Bucket=BUCKET)
    refused = project.run("deploy", "tiny-llama", "-e", ENVIRONMENT, "--yes", **given)
    assert refused.code != 0
    assert BUCKET not in {bucket["Name"] for bucket in project.client("s3").list_buckets()["Buckets"]}


@pytest.fixture
def repository(project: Project, tmp_path: Path) -> Path:
    """A repository with one environment, for which nothing but the credentials need be set."""
    origin = tmp_path / "origin"
    shutil.copytree(project.home, origin)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, origin / name)
    for name in ("staging", "production"):
        (origin / "environments" / f"{name}.yaml").unlink()
    environment = origin / "environments" / f"{ENVIRONMENT}.yaml"
    document = yaml.safe_load(environment.read_text())
    del document["requires"]
    environment.write_text(yaml.safe_dump(document))
    git(origin, "init", "--quiet", "--initial-branch", "main")
    commit(origin, "first")
    return origin


def propose(repository: Path) -> tuple[str, str]:
    """A change of a model that can be deployed, and of one that cannot; the commit before it, and its own."""
    base = git(repository, "rev-parse", "HEAD")
    for name, changes in (
        ("tiny-llama", {"max_num_seqs": 7}),
        ("huge-llama", {"extra_args": ["--no-such-flag=1"]}),
    ):
        file = repository / "models" / f"{name}.yaml"
        document = yaml.safe_load(file.read_text())
        document["engine"] |= changes
        file.write_text(yaml.safe_dump(document))
    return base, commit(repository, "change")


def machine(project: Project) -> dict[str, str]:
    """How programs find the sandbox, without credentials."""
    own = ("AWS_ACC", "AWS_SEC", "SLIPWAY_HOME", "PATH", "HOME", "PYTHONPATH")
    return {name: value for name, value in project.environment.items() if not name.startswith(own)}


def test_a_pull_request_is_judged_by_the_role_and_commented_on(
    project: Project, role: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    base, sha = propose(repository)
    pull = {"number": 7, "base": {"sha": base}, "head": {"repo": {"full_name": "acme/serving"}}}
    contexts = {
        "github": {"sha": sha, "repository": "acme/serving", "token": "t", "event": {"pull_request": pull}},
        "vars": {"SLIPWAY_READER_ROLE": role["Arn"], "AWS_REGION": "us-east-1"},
        "secrets": {"HF_TOKEN": ""},
    }
    runner = Runner(
        ROOT / "ci" / "github" / "preflight.yml",
        tmp_path / "runner",
        repository,
        contexts,
        machine(project),
        {role["Arn"]: as_role(project, role)},
    )
    before = len(project.sandbox.decisions())
    changed, huge, tiny, comment = runner.run()
    assert changed.result == comment.result == "success", changed.log + comment.log
    assert (huge.matrix["model"], huge.result, huge.code) == ("huge-llama", "failure", 3), huge.log
    assert (tiny.matrix["model"], tiny.result) == ("tiny-llama", "success"), tiny.log
    assert f"repo:acme/serving:environment:{tiny.environment}" == SUBJECT
    assert tiny.summary.startswith("### tiny-llama on sandbox can be deployed\n```\n")
    said = (tmp_path / "runner" / "comment.md").read_text()
    assert "### huge-llama on sandbox cannot be deployed (exit code 3)" in said
    assert "--no-such-flag" in said
    assert tiny.summary in said
    words = (tmp_path / "runner" / "comment.args").read_text()
    assert words.startswith("pr comment 7 --repo acme/serving --edit-last --create-if-none")
    asked = project.sandbox.decisions()[before:]
    assert asked
    assert all(f":assumed-role/{CLUSTER}-ci/" in one["who"] for one in asked)


class Note(NamedTuple):
    """What was posted."""

    path: str
    token: str
    body: str


class Heard(NamedTuple):
    """An API of GitLab's, and what it was told."""

    url: str
    heard: list[Note]


@pytest.fixture
def gitlab() -> Iterator[Heard]:
    heard: list[Note] = []

    class Hears(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            heard.append(Note(self.path, self.headers["PRIVATE-TOKEN"], parse_qs(text)["body"][0]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *of: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hears) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Heard(f"http://127.0.0.1:{server.server_port}", heard)
        server.shutdown()


@pytest.mark.long
def test_a_merge_request_is_judged_by_the_role_and_gets_a_note(
    project: Project, role: dict[str, Any], repository: Path, gitlab: Heard, tmp_path: Path
) -> None:
    base, _ = propose(repository)
    job = yaml.safe_load((ROOT / "ci" / "gitlab-ci.yml").read_text())["preflight"]
    assert list(job["id_tokens"]) == ["AWS_ID_TOKEN"]
    given = {
        "PATH": f"{put_programs(tmp_path / 'bin')}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ENVIRONMENT": ENVIRONMENT,
        "AWS_ID_TOKEN": "a token",
        "SLIPWAY_READER_ROLE": role["Arn"],
        "SLIPWAY_COMMENT_TOKEN": "glpat",
        "CI_PROJECT_DIR": str(repository),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_API_V4_URL": gitlab.url,
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
    }
    # variables may name variables
    own = {name: string.Template(text).substitute(given) for name, text in job["variables"].items()}
    before = len(project.sandbox.decisions())
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],  # noqa: S607
        cwd=repository,
        env={**machine(project), **given, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    [note] = gitlab.heard
    assert (note.path, note.token) == ("/projects/3/merge_requests/7/notes", "glpat")
    assert "### huge-llama on sandbox cannot be deployed (exit code 3)" in note.body
    assert "### tiny-llama on sandbox can be deployed" in note.body
    asked = project.sandbox.decisions()[before:]
    assert asked
    assert all(f":assumed-role/{CLUSTER}-ci/" in one["who"] for one in asked)
