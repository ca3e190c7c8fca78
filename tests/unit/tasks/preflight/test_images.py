from __future__ import annotations

import pytest

from tasks.preflight.images import vllm_version

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.32.0", "0.32.0"),
        (f"vllm/vllm-openai:v0.32.0@{DIGEST}", "0.32.0"),
        ("vllm/vllm-openai:v0.32.0-cu129", "0.32.0"),
        ("vllm/vllm-openai:v0.8.5.post1", "0.8.5.post1"),
        ("vllm/vllm-openai:v0.33.0rc2", "0.33.0rc2"),
        ("registry.local:5000/mirror/vllm-openai:0.32.0", "0.32.0"),
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:0.11.2-gpu-py312-cu129-ubuntu22.04-ec2",
            "0.11.2",
        ),
        ("public.ecr.aws/deep-learning-containers/vllm:0.13-gpu-py312", None),  # no patch number
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.33.0-lmi15.0.0-cu128", None),
        ("acme/our-models:v1.2.3", None),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai:nightly-0.32.0", None),
        (f"vllm/vllm-openai@{DIGEST}", None),
        ("vllm/vllm-openai", None),
        ("registry.local:5000/vllm-openai", None),
        ("vllm/vllm-openai:v0.32.01x", None),
    ],
)
def test_the_version_is_read_off_the_images_name(image: str, version: str | None) -> None:
    assert vllm_version(image) == version
