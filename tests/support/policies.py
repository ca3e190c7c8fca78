"""The user a sandbox with policies is used as, and taking policies from it for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.project import Project

DEPLOYER = "slipway-deployer"


@contextmanager
def without(project: Project, *policies: str) -> Iterator[None]:
    """Whoever deploys lacks these policies of infra/iam, of every environment."""
    iam = project.client("iam")
    taken = {}
    for name in iam.list_user_policies(UserName=DEPLOYER)["PolicyNames"]:
        if name.split(".")[0] in policies:
            document = iam.get_user_policy(UserName=DEPLOYER, PolicyName=name)["PolicyDocument"]
            taken[name] = json.dumps(document)
            iam.delete_user_policy(UserName=DEPLOYER, PolicyName=name)
    assert taken
    try:
        yield
    finally:
        for name, text in taken.items():
            iam.put_user_policy(UserName=DEPLOYER, PolicyName=name, PolicyDocument=text)
