"""AWS tags in the forms EC2 and IAM take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tag_filter(name: str, value: str) -> dict[str, Any]:
    if value in ("", "*"):
        return {"Name": "tag-key", "Values": [name]}
    return {"Name": f"tag:{name}", "Values": [value]}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
