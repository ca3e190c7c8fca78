"""Run checkov over the terraform roots; fail for a finding that is not in infra/terraform/accepted_checks.yaml.

python -m tools.root_checks PATH/TO/checkov
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOTS = Path(__file__).resolve().parent.parent / "infra" / "terraform"
ACCEPTED = ROOTS / "accepted_checks.yaml"


def found_by(checkov: str, root: Path) -> dict[str, str]:
    """`CHECK resource` -> what checkov says of it. Nothing is downloaded. Raises SystemExit where checkov did not run."""
    done = subprocess.run(
        [
            checkov,
            "--directory",
            str(root),
            "--framework",
            "terraform",
            "--skip-download",
            "--compact",
            "-o",
            "json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        reports = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"checkov did not run:\n{done.stderr[-2000:]}") from None
    return findings(reports if isinstance(reports, list) else [reports])


def findings(reports: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The failed checks of checkov's reports; instances of one resource are one. Raises SystemExit where nothing was read."""
    summaries = [report.get("summary") or report for report in reports]
    if not sum(summary.get("resource_count", 0) for summary in summaries):
        raise SystemExit("checkov read no resource")
    if unread := sum(summary.get("parsing_errors", 0) for summary in summaries):
        raise SystemExit(f"checkov could not read {unread} files")
    return {
        f"{check['check_id']} {str(check['resource']).partition('[')[0]}": str(check["check_name"])
        for report in reports
        for check in (report.get("results") or {}).get("failed_checks", ())
    }


def differences(found: Mapping[str, str], accepted: Mapping[str, str]) -> list[str]:
    """What is found and not accepted, and what is accepted and not found. Pure."""
    return [
        *(f"{name}: {said}" for name, said in sorted(found.items()) if name not in accepted),
        *(f"{name}: accepted, and not found any more" for name in sorted(accepted) if name not in found),
    ]


def main(checkov: str) -> None:
    found: dict[str, str] = {}
    for root in sorted(each for each in ROOTS.iterdir() if (each / "versions.tf").exists()):
        found |= found_by(checkov, root)
    wrong = differences(found, yaml.safe_load(ACCEPTED.read_text()))
    if wrong:
        raise SystemExit("\n".join([*wrong, f"repair it, or say in {ACCEPTED.name} why it stays"]))
    sys.stdout.write(f"{len(found)} findings, all accepted with their reasons\n")


if __name__ == "__main__":
    main(sys.argv[1])
