from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway_sandbox.terraform.workspace import Workspace
from tests.terraform.cloud import Cloud, cloud

HEADER = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

provider "aws" {
  default_tags {
    tags = { Project = "slipway" }
  }
}
"""


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture
def configured(aws: Cloud, tmp_path: Path) -> Callable[[str], Workspace]:
    """A workspace with this configuration, initialised."""

    def make(text: str) -> Workspace:
        (tmp_path / "main.tf").write_text(HEADER + text)
        workspace = Workspace(tmp_path, aws.environment)
        workspace.init()
        return workspace

    return make
