"""What is read of the Dockerfile to lay its contents out without Docker."""

from __future__ import annotations

import pytest

from tests.support.builders import ROOT
from tools.image import copied, user_of

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_every_source_of_the_dockerfile_is_in_the_checkout() -> None:
    sources = [source for source, _ in copied(DOCKERFILE)]
    assert {"requirements.lock", "flows", "tasks", "infra", "k8s", "models", "environments"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_what_comes_from_other_images_is_left_out() -> None:
    assert copied("COPY --from=helm /usr/bin/helm /usr/local/bin/helm\nCOPY a b ./\nCOPY k8s k8s\n") == [
        ("a", "./"),
        ("b", "./"),
        ("k8s", "k8s"),
    ]


def test_the_images_user_is_not_root() -> None:
    assert user_of(DOCKERFILE) > 0
    with pytest.raises(ValueError, match="no user but root"):
        user_of("USER root\n")
