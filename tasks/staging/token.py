"""The hub's token: whose it is told to be in Prefect or the shell, else the secret that terraform made for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors
from tasks.records.environment import Environment
from tasks.records.errors import AccessDenied

VARIABLE = "HF_TOKEN"
# a secret that has no value yet answers as one that is not there
ABSENT = {"ResourceNotFoundException"}


def secret_of(environment: Environment) -> str:
    """Its name in Secrets Manager: infra/terraform/storage/main.tf."""
    return f"{environment.cluster.name}/hub-token"


def stored(aws: Aws, environment: Environment, warn: Callable[[str], None]) -> str | None:
    """The secret's value; None where nobody has set one, or it may not be read, which is told. Raises CloudError."""
    client: Any = aws.client("secretsmanager")
    try:
        with aws_errors("reading the hub's token"):
            try:
                found = client.get_secret_value(SecretId=secret_of(environment))
            except ClientError as error:
                if error.response["Error"]["Code"] in ABSENT:
                    return None
                raise
    except AccessDenied as denied:
        # most repos need no token
        warn(f"the hub is asked without a token: {secret_of(environment)} may not be read ({denied.cause})")
        return None
    return str(found["SecretString"]).strip() or None


def chosen(block: str | None, variables: Mapping[str, str], secret: Callable[[], str | None]) -> str | None:
    """The first that is set: Prefect's block, HF_TOKEN, the secret. Pure."""
    return block or variables.get(VARIABLE) or secret()
