"""Which registry, repository and tag an image's name means; what a registry answers is asked of the sandbox's."""

from __future__ import annotations

import pytest

from tasks.cloud.registry import DOCKER_HUB, Reference
from tests.support.builders import an_environment

SECRET = "arn:aws:secretsmanager:us-east-1:999988887777:secret:ecr-pullthroughcache/hub"


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("vllm/vllm-openai:v0.32.0", (DOCKER_HUB, "vllm/vllm-openai", "v0.32.0")),
        ("nginx", (DOCKER_HUB, "library/nginx", "latest")),
        ("docker.io/vllm/vllm-openai:v1", (DOCKER_HUB, "vllm/vllm-openai", "v1")),
        ("quay.io/acme/vllm@sha256:ab", ("quay.io", "acme/vllm", "sha256:ab")),
        ("localhost:5000/vllm:1", ("localhost:5000", "vllm", "1")),
        ("a/b:tag@sha256:cd", (DOCKER_HUB, "a/b", "sha256:cd")),
    ],
)
def test_a_name_is_read_as_docker_reads_it(image: str, parts: tuple[str, str, str]) -> None:
    found = Reference.of(image)
    assert (found.registry, found.repository, found.tag) == parts


@pytest.mark.parametrize(
    ("image", "pulled"),
    [
        ("vllm/vllm-openai:v1", "999988887777.dkr.ecr.us-east-1.amazonaws.com/hub/vllm/vllm-openai:v1"),
        ("docker.io/nginx:1", "999988887777.dkr.ecr.us-east-1.amazonaws.com/hub/library/nginx:1"),
        ("quay.io/acme/vllm:1", "quay.io/acme/vllm:1"),
    ],
)
def test_images_of_the_caches_registry_come_through_it(image: str, pulled: str) -> None:
    assert an_environment().pulled_as(image) == image
    cached = an_environment(
        account="999988887777", storage={"image_cache": {"prefix": "hub", "credential_arn": SECRET}}
    )
    assert cached.pulled_as(image) == pulled


def test_a_cache_needs_the_account_it_is_in() -> None:
    with pytest.raises(ValueError, match="needs account"):
        an_environment(storage={"image_cache": {"prefix": "hub", "credential_arn": SECRET}})
