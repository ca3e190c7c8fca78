"""Record what Prefect's real charts say of the values that k8s/prefect sets.

    python -m tools.prefect_charts --version 2026.8.18172642 --source "TEXT" CHARTS

CHARTS is a folder with the unpacked charts prefect-server and prefect-worker. Writes k8s/prefect/charts.json, which tests hold
the values against: run it after every change of a value or of the version.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tools.chart_facts import ROOT, default_of, digest_of, leaves

FOLDER = ROOT / "k8s" / "prefect"
CHARTS = {"server": "prefect-server", "worker": "prefect-worker"}


def values_of(name: str) -> dict[str, Any]:
    """Our values of a chart: `server` or `worker`."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return found


def facts(name: str, chart: Path) -> dict[str, Any]:
    """Raises jsonschema.ValidationError where the chart's own schema refuses a value."""
    values = values_of(name)
    jsonschema.validate(values, json.loads((chart / "values.schema.json").read_text("utf-8")))
    defaults = yaml.safe_load((chart / "values.yaml").read_text("utf-8"))
    return {
        "values": digest_of(values),
        "defaults": {path: default_of(defaults, path) for path, _ in sorted(leaves(values))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("charts", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--source", required=True)
    given = parser.parse_args()
    record = {
        "version": given.version,
        "source": given.source,
        **{name: facts(name, given.charts / chart) for name, chart in CHARTS.items()},
    }
    (FOLDER / "charts.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
