from __future__ import annotations

from pathlib import Path

import pytest

from tasks.addons.helm import bundle_description, is_deployed


@pytest.mark.parametrize(
    ("history", "deployed"),
    [
        ([], False),
        ([("deployed", "mine")], True),
        ([("deployed", "Upgrade complete")], False),
        ([("deployed", "mine"), ("pending-upgrade", "mine")], False),
        ([("superseded", "mine"), ("deployed", "Rollback to 1")], False),
        ([("superseded", "other"), ("deployed", "mine")], True),
        ([("failed", "mine")], False),
    ],
)
def test_only_a_last_revision_of_the_same_bundle_counts(
    history: list[tuple[str, str]], deployed: bool
) -> None:
    rows = [{"status": status, "description": text} for status, text in history]
    assert is_deployed(rows, "mine") is deployed


def test_a_bundle_is_another_when_version_values_or_a_local_template_differ(tmp_path: Path) -> None:
    chart, values = tmp_path / "chart", tmp_path / "values.yaml"
    (chart / "templates").mkdir(parents=True)
    (chart / "templates" / "a.yaml").write_text("kind: A")
    values.write_text("a: 1")
    seen = {bundle_description([str(chart), "--version", "1"], [values])}
    assert bundle_description([str(chart), "--version", "1"], [values]) in seen
    seen.add(bundle_description([str(chart), "--version", "2"], [values]))
    values.write_text("a: 2")
    seen.add(bundle_description([str(chart), "--version", "1"], [values]))
    (chart / "templates" / "a.yaml").write_text("kind: B")
    seen.add(bundle_description([str(chart), "--version", "1"], [values]))
    assert len(seen) == 4
