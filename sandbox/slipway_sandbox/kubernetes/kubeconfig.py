"""A kubeconfig for one control plane and one bearer token."""

from __future__ import annotations

import base64
import json


def kubeconfig(name: str, server: str, ca_pem: bytes, token: str) -> str:
    """The file's content (JSON, which is YAML). It holds the token: keep it readable by its owner alone."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca_pem).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(config, indent=1)
