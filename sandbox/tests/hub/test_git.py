"""Object ids against git itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from slipway_sandbox.hub import git
from slipway_sandbox.hub.blobs import Hasher, is_large, lfs_patterns
from slipway_sandbox.hub.repos import FIRST_COMMIT, Repo, read_folder

GIT = shutil.which("git")


@pytest.mark.skipif(GIT is None, reason="no git on PATH")
def test_ids_are_those_git_gives(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    for path, text in {"b": "1", "a.b": "2", "a/b/c": "3", "a/d": "4", "a-b": "5"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    name, _, mail = git.AUTHOR.partition(" <")
    who = {"NAME": name, "EMAIL": mail.rstrip(">"), "DATE": f"{FIRST_COMMIT} +0000"}
    environment = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    environment |= {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(GIT), "-c", "commit.gpgsign=false", *words],
            cwd=folder, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    run("init", "-q")
    run("add", ".")
    run("commit", "-q", "-m", "a title")
    commit = Repo("a/b").commit(read_folder(folder, Hasher(tmp_path / "oids.json")), "a title")
    assert commit.sha == run("rev-parse", "HEAD")


def test_attributes_and_size_decide_what_is_large() -> None:
    patterns = lfs_patterns("*.bin filter=lfs diff=lfs merge=lfs -text\n*.md text\n# *.txt filter=lfs\n")
    assert is_large("deep/er/a.bin", 1, patterns)
    assert not is_large("a.md", 1, patterns)
    assert is_large("a.md", 10_000_000, patterns)


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "f" / "x.txt"
    file.parent.mkdir()
    file.write_text("one")
    first = read_folder(file.parent, Hasher(tmp_path / "oids.json"))["x.txt"].oid
    file.write_text("three")
    assert read_folder(file.parent, Hasher(tmp_path / "oids.json"))["x.txt"].oid != first
