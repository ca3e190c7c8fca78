"""Alertmanager of the chart kube-prometheus-stack: whom it tells, and the Secret with that address.

Keys of the chart: kube-prometheus-stack 88.0.0, values.yaml, `alertmanager`. `url_file`: Alertmanager 0.26 and later
(docs/configuration.md, webhook_config); the operator mounts `secrets` below /etc/alertmanager/secrets.
"""

from __future__ import annotations

from typing import Any

from tasks.cloud.kubernetes import Cluster

SECRET = "slipway-alert-webhook"  # noqa: S105  the name of a Secret
ENTRY = "url"
RECEIVER = "webhook"


def configuration() -> dict[str, Any]:
    """Alertmanager's own configuration: every alert of Slipway's rules goes to the webhook, an hour apart while it lasts."""
    return {
        "route": {
            "receiver": "null",
            "group_by": ["environment", "model", "alertname"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "1h",
            "routes": [{"receiver": RECEIVER, "matchers": ['alertname=~"Slipway.+"']}],
        },
        "receivers": [
            {"name": "null"},
            {
                "name": RECEIVER,
                "webhook_configs": [
                    {"url_file": f"/etc/alertmanager/secrets/{SECRET}/{ENTRY}", "send_resolved": True}
                ],
            },
        ],
    }


def values() -> dict[str, Any]:
    """The chart's values that install it."""
    return {
        "enabled": True,
        "config": configuration(),
        "alertmanagerSpec": {
            "secrets": [SECRET],
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        },
    }


def bring_address(cluster: Cluster, namespace: str, url: str) -> None:
    """Write the webhook's address into the Secret that Alertmanager reads it from."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": "Opaque",
            "stringData": {ENTRY: url},
        }
    )
