"""A kubeconfig for one control plane and one user."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any


def write_kubeconfig(path: Path, name: str, server: str, ca_pem: bytes, user: dict[str, Any]) -> None:
    """Write it (as JSON, which is YAML) readable by its owner alone: `user` may hold a token."""
    cluster = {"server": server}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(document, indent=1))
    partial.replace(path)
