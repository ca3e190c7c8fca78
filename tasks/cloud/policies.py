"""Name the policy files of infra/iam that allow an action, and what gives it to an identity."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

from tasks.records.catalogue import project_root


def policies_with(action: str, folder: Path) -> list[str]:
    """Names of the policies in the folder whose statements list the action or a pattern of it."""
    found = []
    for file in sorted(folder.glob("*.json")):
        for statement in json.loads(file.read_text())["Statement"]:
            listed = statement["Action"]
            patterns = [listed] if isinstance(listed, str) else listed
            if any(fnmatchcase(action, pattern) for pattern in patterns):
                found.append(file.name)
                break
    return found


def give_right(action: str) -> str:
    """The next command for an action that is not allowed."""
    files = " or ".join(f"infra/iam/{name}" for name in policies_with(action, project_root() / "infra/iam"))
    of = f", as {files} does" if files else ""
    return f"aws sts get-caller-identity, then allow that identity {action}{of}; the policies: docs/running-on-aws.md, 3"
