"""Which vLLM an image's name says it carries. Pure; nothing is pulled.

vLLM's own images are `vllm/vllm-openai:v0.32.0`, also `v0.32.0-cu129` or `v0.32.0-x86_64`; AWS's Deep Learning
Containers `…dkr.ecr.REGION.amazonaws.com/vllm:0.11.2-gpu-py312-cu129-ubuntu22.04-ec2` and
`public.ecr.aws/deep-learning-containers/vllm:…`. Another repository's tag is its own version, not vLLM's
(`djl-inference:0.33.0-lmi15.0.0-cu128`).
"""

from __future__ import annotations

import re

REPOSITORIES = frozenset({"vllm", "vllm-openai"})
VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:\.post\d+|rc\d+)?)(?=$|[-_+])")


def vllm_version(image: str) -> str | None:
    """ "0.32.0" of `vllm/vllm-openai:v0.32.0@sha256:…`; None where the name does not say one: a digest alone, `latest`,
    a tag without a patch number, another repository."""
    name = image.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a registry's port
        return None
    found = VERSION.match(tag)
    return found[1] if found and repository.rpartition("/")[2] in REPOSITORIES else None
