"""`python3 -m tasks.holding SETTINGS.json KEYFILE`, in a pod: the holder, on $POD_IP:8080.

KEYFILE has the key that the gateway shows vLLM. With SLIPWAY_PREFECT_AUTHORIZATION that is sent to Prefect's API.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import uvicorn

from tasks.cloud.in_cluster import connect_inside
from tasks.holding.service import application
from tasks.holding.waking import ClusterWaker, flow_runs
from tasks.records.hold import HolderSettings

PORT = 8080


def main(settings_file: str, key_file: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = HolderSettings.model_validate_json(Path(settings_file).read_text())
    key = Path(key_file).read_text().strip()
    start_run = (
        flow_runs(
            settings.prefect_api_url,
            settings.environment,
            os.environ.get("SLIPWAY_PREFECT_AUTHORIZATION"),
        )
        if settings.prefect_api_url
        else None
    )
    waker = ClusterWaker(connect_inside(), settings.namespace, time.time, start_run)
    uvicorn.run(
        application(settings, key, waker),
        host=os.environ.get("POD_IP", "127.0.0.1"),
        port=PORT,
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        # what is held may end when the pod is told to; the kubelet's grace period is a little longer
        timeout_graceful_shutdown=int(settings.longest),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
