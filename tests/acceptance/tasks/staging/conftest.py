"""A hub and an S3 that enforces checksums, once for these tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from slipway_sandbox.testing import Sandbox, start

from tasks.records.model import Source
from tasks.records.results import HubModel
from tasks.staging.hub import resolve
from tasks.staging.link import Hub
from tests.support.hub_models import REPO, write_repo


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    root = tmp_path_factory.mktemp("staging")
    with start(root, parts=("hub", "aws"), models={REPO: write_repo(root / "repo")}) as running:
        yield running


@pytest.fixture(scope="session")
def s3(sandbox: Sandbox) -> Any:
    config = Config(
        s3={"addressing_style": "path", "payload_signing_enabled": False},
        max_pool_connections=32,
        retries={"mode": "standard", "max_attempts": 3},
    )
    return sandbox.session().client("s3", config=config)


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"models-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def model(sandbox: Sandbox) -> HubModel:
    return resolve(Source(repo=REPO), Hub(endpoint=sandbox.hub_url))
