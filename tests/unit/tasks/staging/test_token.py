"""The hub's token: which place wins, and the secret over moto's Secrets Manager, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from tasks.cloud.aws import Aws
from tasks.staging.token import chosen, secret_of, stored
from tests.support.builders import ROOT, an_environment

WHERE = an_environment()


@pytest.mark.parametrize(
    ("block", "variable", "secret", "wins"),
    [
        ("hf_block", "hf_shell", "hf_secret", "hf_block"),
        (None, "hf_shell", "hf_secret", "hf_shell"),
        (None, "", "hf_secret", "hf_secret"),
        (None, None, None, None),
    ],
)
def test_the_nearest_place_wins(
    block: str | None, variable: str | None, secret: str | None, wins: str | None
) -> None:
    variables = {} if variable is None else {"HF_TOKEN": variable}
    assert chosen(block, variables, lambda: secret) == wins


def test_aws_is_not_asked_where_another_place_has_it() -> None:
    def asked() -> str | None:
        raise AssertionError("asked")

    assert chosen("hf_block", {}, asked) == "hf_block"
    assert chosen(None, {"HF_TOKEN": "hf_shell"}, asked) == "hf_shell"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield Aws("us-east-1")


def test_a_secret_that_is_not_there_or_has_no_value_is_no_token(aws: Aws) -> None:
    told: list[str] = []
    assert stored(aws, WHERE, told.append) is None
    aws.client("secretsmanager").create_secret(Name=secret_of(WHERE))
    assert stored(aws, WHERE, told.append) is None
    assert told == []


def test_the_value_is_read_without_the_newline_of_a_file(aws: Aws) -> None:
    aws.client("secretsmanager").create_secret(Name=secret_of(WHERE), SecretString="hf_secret\n")
    assert stored(aws, WHERE, print) == "hf_secret"


def test_who_may_not_read_it_goes_on_without_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    told: list[str] = []
    assert stored(Aws("us-east-1"), WHERE, told.append) is None
    assert len(told) == 1
    assert "staging/hub-token" in told[0]


def test_the_secret_is_the_one_that_terraform_makes() -> None:
    made = (ROOT / "infra/terraform/storage/main.tf").read_text()
    assert secret_of(WHERE) == "slipway-staging/hub-token"
    assert '"${var.name}/hub-token"' in made
