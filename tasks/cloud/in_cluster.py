"""The Kubernetes API for a program that runs in a pod: by its service account, or by $KUBECONFIG where that is set."""

from __future__ import annotations

import os
import tempfile

from kubernetes import client, config

from tasks.cloud.kubernetes import RETRIES, Cluster


def connect_inside() -> Cluster:
    """Connect; a service account's token is read again before it ends (kubernetes client 36, config/incluster_config.py)."""
    configuration = client.Configuration()
    if "KUBECONFIG" in os.environ:
        config.load_kube_config(client_configuration=configuration)
    else:
        config.load_incluster_config(client_configuration=configuration)
    configuration.retries = RETRIES

    def token() -> str:
        return str(configuration.get_api_key_with_prefix("authorization") or "").removeprefix("Bearer ")

    scratch = tempfile.TemporaryDirectory(prefix="slipway-")
    return Cluster(client.ApiClient(configuration), "the cluster", token, scratch)
