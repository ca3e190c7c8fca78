from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.node_image import pinned
from tasks.records.errors import CloudError


class Aws:
    """SSM with one parameter."""

    def __init__(self, value: str) -> None:
        self.value = value

    def client(self, service: str) -> Any:
        return self

    def get_parameter(self, Name: str) -> Any:  # noqa: N803  boto3's spelling
        return {"Parameter": {"Value": self.value}}


def test_latest_is_the_release_that_eks_recommends_now_and_a_version_stays() -> None:
    aws: Any = Aws("1.35.4-20260714")
    assert pinned("al2023@latest", aws, "1.35") == "al2023@v20260714"
    assert pinned("al2023@v20250101", aws, "1.35") == "al2023@v20250101"


def test_without_a_recommended_image_nothing_is_guessed() -> None:
    aws: Any = Aws("")
    with pytest.raises(CloudError, match=r"no AL2023 image with GPU drivers for Kubernetes 1\.35"):
        pinned("al2023@latest", aws, "1.35")
