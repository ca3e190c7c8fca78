"""Commits of a model that a project follows, published on the sandbox's hub by a test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway_sandbox.testing import make_models

from tests.support.project import BUCKET, Project, edit

REPO = "slipway/tiny-llama"
SHARD = "model-00002-of-00002.safetensors"
Publish = Callable[..., str]


@contextmanager
def publishing(project: Project, folder: Path) -> Iterator[Publish]:
    """`publish(trained, {path: text})`: a commit whose weights end in other numbers, with these files beside them; its sha.

    tiny-llama serves main and follows it; its file, and the hub's main, are put back at the end.
    """
    project.serve()
    file = project.home / "models" / "tiny-llama.yaml"
    before = file.read_text()
    edit(file, {"source": {"follow": True}})
    project.deploy().succeeded()
    original = make_models(folder / "models") / "tiny-llama" / "main"

    def commit(trained: int, more: dict[str, str] | None = None) -> str:
        made = folder / f"commit-{trained}"
        shutil.copytree(original, made)
        weights = bytearray((made / SHARD).read_bytes())
        weights[-2:] = trained.to_bytes(2, "little")
        (made / SHARD).write_bytes(weights)
        for path, text in (more or {}).items():
            (made / path).write_text(text)
        return project.sandbox.publish(REPO, made)

    yield commit
    project.sandbox.publish(REPO, original)
    file.write_text(before)
    project.deploy().succeeded()


def staged(project: Project, commit: str) -> int:
    """Objects in the bucket that are of a commit."""
    listed = project.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{REPO}/{commit}/")
    return int(listed["KeyCount"])
