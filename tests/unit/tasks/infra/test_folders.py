"""No two runs on a host work in one terraform folder."""

from __future__ import annotations

from pathlib import Path

from tasks.infra.folders import WorkFolder


def test_two_at_once_have_two_folders_and_the_next_has_the_first_that_is_free(tmp_path: Path) -> None:
    first = WorkFolder.take(tmp_path)
    second = WorkFolder.take(tmp_path)
    assert (first.path, second.path) == (tmp_path / "1", tmp_path / "2")
    del first
    third = WorkFolder.take(tmp_path)
    assert third.path == tmp_path / "1"
