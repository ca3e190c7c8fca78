from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from slipway_sandbox.aws.tokens import PREFIX, authenticate_eks, token_for
from slipway_sandbox.kubernetes.errors import Unauthorized
from tests.aws.conftest import Aws


def now() -> datetime:
    return datetime.now(UTC)


def as_awscli(aws: Aws, cluster: str, **keys: str) -> str:
    """A token as `aws eks get-token` makes it (awscli/customizations/eks/get_token.py)."""
    session = boto3.Session(
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
        aws_session_token=keys.get("session_token"),
        region_name=aws.settings.region,
    )
    client = session.client("sts", endpoint_url=aws.settings.aws_url)

    def add_header(request: Any, **_: object) -> None:
        request.headers["x-k8s-aws-id"] = cluster

    client.meta.events.register("before-sign.sts.GetCallerIdentity", add_header)
    url = client.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    return PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


async def test_the_sandboxes_own_token_is_its_operator(aws: Aws, cluster: str) -> None:
    token = token_for(cluster, aws.settings)
    user = await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())
    assert user == "arn:aws:iam::123456789012:user/slipway-operator"


async def test_a_token_made_by_botocore_is_accepted(aws: Aws, cluster: str) -> None:
    from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY

    token = as_awscli(aws, cluster, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    assert await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())


async def test_a_token_for_another_cluster_is_refused(aws: Aws, cluster: str) -> None:
    token = token_for("another", aws.settings)
    with pytest.raises(Unauthorized, match="SignatureDoesNotMatch"):
        await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())


async def test_a_wrong_secret_is_refused(aws: Aws, cluster: str) -> None:
    from slipway_sandbox.settings import ACCESS_KEY

    token = as_awscli(aws, cluster, access_key=ACCESS_KEY, secret_key="guessed")
    with pytest.raises(Unauthorized, match="SignatureDoesNotMatch"):
        await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())


async def test_a_key_nobody_has_is_refused(aws: Aws, cluster: str) -> None:
    token = as_awscli(aws, cluster, access_key="AKIANOBODYNOBODY0000", secret_key="x")
    with pytest.raises(Unauthorized, match="InvalidClientTokenId"):
        await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())


async def test_a_token_is_good_for_fifteen_minutes(aws: Aws, cluster: str) -> None:
    token = token_for(cluster, aws.settings)
    with pytest.raises(Unauthorized, match="tokens live 15 minutes"):
        await authenticate_eks(
            token, cluster=cluster, settings=aws.settings, now=now() + timedelta(minutes=16)
        )


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "no bearer token"),
        ("eyJhbGciOi", "does not start with"),
        (PREFIX + "!!!", "no presigned URL"),
        (
            PREFIX + base64.urlsafe_b64encode(b"https://evil.example/?Action=GetCallerIdentity").decode(),
            "is not STS",
        ),
        (
            PREFIX + base64.urlsafe_b64encode(b"https://sts.amazonaws.com/?Action=AssumeRole").decode(),
            "is not GetCallerIdentity",
        ),
        (
            PREFIX
            + base64.urlsafe_b64encode(
                b"https://sts.amazonaws.com/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host"
            ).decode(),
            "does not sign the x-k8s-aws-id header",
        ),
    ],
)
async def test_what_is_no_eks_token_is_refused(
    aws: Aws, cluster: str, token: str | None, reason: str
) -> None:
    with pytest.raises(Unauthorized, match=reason):
        await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())


async def test_a_user_needs_an_access_entry_and_is_named_by_it(aws: Aws, eks: Any, cluster: str) -> None:
    iam, name = aws.client("iam"), f"dev-{uuid.uuid4().hex[:8]}"
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    token = as_awscli(aws, cluster, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
    with pytest.raises(Unauthorized, match="has no access entry"):
        await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())
    eks.create_access_entry(clusterName=cluster, principalArn=arn, username="dev")
    assert await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now()) == "dev"


async def test_a_role_session_is_its_role(aws: Aws, eks: Any, cluster: str) -> None:
    name = f"deployer-{uuid.uuid4().hex[:8]}"
    role = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    eks.create_access_entry(clusterName=cluster, principalArn=role)
    given = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="ci")["Credentials"]
    token = as_awscli(
        aws,
        cluster,
        access_key=given["AccessKeyId"],
        secret_key=given["SecretAccessKey"],
        session_token=given["SessionToken"],
    )
    user = await authenticate_eks(token, cluster=cluster, settings=aws.settings, now=now())
    assert user == f"arn:aws:sts::123456789012:assumed-role/{name}/ci"


def test_the_module_prints_an_exec_credential(aws: Aws, cluster: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slipway_sandbox.aws.tokens", cluster],
        env={**os.environ, "SLIPWAY_SANDBOX_ROOT": str(aws.settings.root)},
        capture_output=True,
        check=True,
        text=True,
    )
    credential = json.loads(done.stdout)
    assert credential["apiVersion"] == "client.authentication.k8s.io/v1"
    assert credential["status"]["token"].startswith(PREFIX)
