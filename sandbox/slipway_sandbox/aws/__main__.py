"""`python -m slipway_sandbox.aws --root DIR`: serve AWS for one sandbox until SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from slipway_sandbox.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slipway_sandbox.aws", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the sandbox's folder, with settings.json")
    settings = Settings.load(parser.parse_args().root)
    # moto reads these when it is imported.
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    os.environ["MOTO_PORT"] = str(settings.aws_port)
    os.environ.setdefault("AWS_DEFAULT_REGION", settings.region)

    from slipway_sandbox.aws.offerings import read_on_demand
    from slipway_sandbox.service_models import read_lean

    read_lean()
    read_on_demand()
    from slipway_sandbox.aws.server import build

    server = build(settings)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"aws: listening on http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
