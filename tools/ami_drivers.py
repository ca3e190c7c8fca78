"""Record the NVIDIA driver of each release of EKS's AL2023 GPU image, from amazon-eks-ami's CHANGELOG.md.

git clone --depth 1 https://github.com/awslabs/amazon-eks-ami
python -m tools.ami_drivers amazon-eks-ami
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "tasks" / "preflight" / "ami_drivers.json"
RELEASE = re.compile(r"^# AMI Release v(\d{8})$", re.MULTILINE)
DRIVER = re.compile(r"<td>kmod-nvidia-latest-dkms</td>\s*<td[^>]*>(\d+(?:\.\d+)+)-\d+\.amzn2023</td>")


def drivers(changelog: str) -> dict[str, str]:
    """The oldest driver of each release's tables (one a Kubernetes version), by the release's day."""
    parts = RELEASE.split(changelog)
    found = {}
    for day, text in zip(parts[1::2], parts[2::2], strict=True):
        if versions := DRIVER.findall(text):
            found[day] = min(versions, key=lambda version: [int(number) for number in version.split(".")])
    return found


def main(repository: Path) -> None:
    """`repository`: a clone, or its git directory alone."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(repository), *words],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    commit = git("rev-parse", "HEAD").strip()
    found = drivers(git("show", f"{commit}:CHANGELOG.md"))
    # a release says only what changed to a reader: keep the day a driver came
    days = sorted(found)
    first = {
        day: found[day]
        for before, day in zip(["", *days], days, strict=False)
        if found.get(before) != found[day]
    }
    document = {
        "source": f"awslabs/amazon-eks-ami@{commit}, CHANGELOG.md",
        "until": days[-1],
        "drivers": first,
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
