"""Say which models on which environments a change touches, for a preflight of each or a deploy of each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.model import Model

# what every deploy applies
FOR_ALL = ("k8s/", "infra/terraform/cluster/", "infra/terraform/storage/")
GIT_SECONDS = 60.0


class Pair(NamedTuple):
    """A model and an environment, by their names."""

    model: str
    environment: str


def touched(
    changed: Iterable[str], models: Sequence[Model], environments: Sequence[Environment]
) -> list[Pair]:
    """The pairs that a deploy would now treat otherwise. Pure. `changed`: paths from the project's folder."""
    paths = [PurePosixPath(path) for path in changed]
    everything = any(str(path).startswith(FOR_ALL) for path in paths)
    return [
        Pair(model.name, environment.name)
        for model in models
        for environment in environments
        if everything or any(_below(path, file) for file in _files(model, environment) for path in paths)
    ]


def _files(model: Model, environment: Environment) -> Iterator[PurePosixPath]:
    """The files and folders a deploy of this pair reads, besides those of every deploy."""
    yield PurePosixPath("models", f"{model.name}.yaml")
    yield PurePosixPath("environments", f"{environment.name}.yaml")
    named = (
        model.load.trace and model.load.trace.file,
        model.load.prompts,
        environment.addons.chart_root,
        environment.addons.extra_values,
    )
    yield from (PurePosixPath(one) for one in named if one)


def _below(path: PurePosixPath, file: PurePosixPath) -> bool:
    return path == file or file in path.parents


def changed_files(project: Path, base: str, head: str) -> list[str]:
    """Paths, from the project's folder, that differ between `head` and where it left `base`; a moved file by both names.

    Raises InputError where git does not know one of them or takes too long.
    """
    words = ["git", "-C", str(project), "diff", "--name-only", "--no-renames", "--relative", "-z"]
    try:
        done = subprocess.run(
            [*words, "--end-of-options", f"{base}...{head}", "--"],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except FileNotFoundError as missing:
        raise InputError("git is not on PATH", next_command="install git") from missing
    except subprocess.TimeoutExpired as late:
        raise InputError(
            f"git did not compare {base} with {head} within {GIT_SECONDS:.0f} s",
            next_command=f"git -C {project} diff --name-only {base}...{head}",
        ) from late
    if done.returncode:
        raise InputError(
            f"git cannot compare {base} with {head}",
            evidence=done.stderr.strip().splitlines()[-3:],
            next_command="check out the whole history (fetch-depth: 0; GIT_DEPTH: 0), and give a commit of it as --base",
        )
    return [path for path in done.stdout.split("\0") if path]
