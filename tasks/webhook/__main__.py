"""`python3 -m tasks.webhook ENVIRONMENT SECRETFILE`: the receiver of the hub's webhook, on $POD_IP:8080.

Prefect's API is $PREFECT_API_URL, with $PREFECT_API_AUTH_STRING where that is set. Who is followed is read from the project, once.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import uvicorn

from tasks.cloud.flow_runs import FlowRuns, Run, basic
from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.errors import InputError, SlipwayError
from tasks.webhook.decide import followed
from tasks.webhook.looks import Looks
from tasks.webhook.service import Forged, Service, application

PORT = 8080
SHORTEST_SECRET = 32  # characters; `openssl rand -hex 32` makes 64
CONNECTIONS = 64
FORGED = "slipway.webhook.forged"


def main(environment: str, secret_file: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    where, root = load_environment(environment), project_root()
    if where.protected or where.promote_from:
        raise InputError(
            f"{environment} takes releases by promotion: nothing is watched there",
            next_command=f"slipway promote MODEL -e {environment}",
        )
    known = followed(load_model(name, root) for name in names("models", root))
    secret = read_secret(Path(secret_file))
    prefect = FlowRuns(os.environ["PREFECT_API_URL"], basic(os.environ.get("PREFECT_API_AUTH_STRING")))

    def start(model: str, key: str) -> Run:
        asked = {"environment": environment, "model": model}
        return prefect.start(
            "slipway-watch",
            environment,
            asked,
            f"slipway-watch {key}",
            f"slipway watch {model} -e {environment}",
        )

    def tell(count: int, peer: str) -> None:
        resource = {
            "prefect.resource.id": f"slipway.environment.{environment}",
            "slipway.environment": environment,
        }
        prefect.emit(FORGED, resource, {"requests": count, "from": peer})

    looks = Looks(start, where.watch.settle)
    told = ", ".join(f"{one.repo}@{one.revision} for {one.name}" for one in known)
    logging.getLogger("webhook").info("followed: %s", told or "nothing")
    uvicorn.run(
        application(Service(secret, known, looks, Forged(tell)), looks),
        host=os.environ.get("POD_IP", "127.0.0.1"),
        port=int(os.environ.get("SLIPWAY_WEBHOOK_PORT", PORT)),
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=10,
    )


def read_secret(file: Path) -> str:
    """The webhook's secret. Raises InputError where it is missing, short or not ASCII, as the hub wants it."""
    secret = file.read_text().strip() if file.is_file() else ""
    if len(secret) < SHORTEST_SECRET or not secret.isascii():
        raise InputError(
            f"{file} has no secret of {SHORTEST_SECRET} ASCII characters or more",
            next_command=f"openssl rand -hex 32 > {file}",
        )
    return secret


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SlipwayError as error:
        sys.exit(f"error: {error.cause}\n  next: {error.next_command}")
