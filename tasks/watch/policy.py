"""Judge whether a new commit may come in, beside the commit that is proven. Pure.

What it refuses is what a load validation and golden prompts may not see, or see too late: who publishes it, under which
licence, what it could run, and whether it is another model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tasks.records.results import PICKLES, HubFile, HubInspection
from tasks.records.watching import HubCommit, WatchSettings

# compiled or shell programs, which no model needs
PROGRAMS = (".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1", ".jar", ".whl")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
# what a checkpoint of the same model keeps, by config.json's names
SHAPE = (
    "architectures",
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "num_experts",
    "num_local_experts",
)
NAMED = 3  # files in one reason


def judge_listing(policy: WatchSettings, repo: str, new: HubCommit, proven: HubCommit | None) -> list[str]:
    """Why the commit is refused by what the hub lists, each reason beginning with its name; empty where it is not.

    `proven`: None where the commit that serves is no longer in the repo.
    """
    if proven is None:
        return ["history: the commit that serves is no longer in the repo: its history was rewritten"]
    found = [
        *_publisher(policy, repo, new, proven),
        *_named("pickles", "new or changed", _changed(new, proven, lambda path: path.endswith(PICKLES))),
        *_named("remote code", "new or changed", _changed(new, proven, lambda path: path.endswith(".py"))),
        *_named("programs", "new or changed", _changed(new, proven, lambda path: path.endswith(PROGRAMS))),
        *_named("paths", "not a plain path", [file.path for file in new.files if not _plain(file.path)]),
    ]
    if _has(proven, (".safetensors",)) and not _has(new, (".safetensors",)):
        found.append("formats: it has no safetensors any more")
    if not any(path.endswith((".safetensors", ".gguf", *PICKLES)) for path in new.staged):
        found.append("weights: it has none to stage")
    if _tokenizers(proven) and not _tokenizers(new):
        found.append(f"tokenizer: {', '.join(sorted(_tokenizers(proven)))} is gone")
    if new.staged_bytes > policy.growth * proven.staged_bytes:
        found.append(
            f"size: {new.staged_bytes:,} bytes to stage, {proven.staged_bytes:,} before; "
            f"{policy.growth:g} times as many are allowed"
        )
    return found


def _publisher(policy: WatchSettings, repo: str, new: HubCommit, proven: HubCommit) -> list[str]:
    """Who publishes it, and on which terms."""
    found = []
    organisation, allowed = new.repo.partition("/")[0], policy.organisations or (repo.partition("/")[0],)
    if organisation not in allowed:
        found.append(f"organisation: {organisation} is none of {', '.join(allowed)}")
    if new.repo != repo:
        found.append(f"repository: {repo} is {new.repo} now")
    if new.disabled:
        found.append("disabled: the hub has taken the repo out of service")
    if new.unreadable:
        found.append(f"gated: {new.unreadable}")
    elif new.gated and not proven.gated:
        found.append("gated: it was not before, and the licence may be another one")
    licences = policy.licences or (proven.licence,)
    if new.licence not in licences:
        found.append(
            f"licence: {new.licence or 'none'}, not {' or '.join(one or 'none' for one in licences)}"
        )
    return found


def judge_contents(new: HubInspection, proven: HubInspection) -> list[str]:
    """Why the commit is refused by what its configuration and headers say."""
    found = [
        f"architecture: {key} is {new.config.get(key)}, {proven.config.get(key)} before"
        for key in SHAPE
        if new.config.get(key) != proven.config.get(key)
    ]
    for name, after, before in (
        ("config.json", new.config, proven.config),
        ("tokenizer_config.json", _tokenizer_config(new), _tokenizer_config(proven)),
    ):
        if after.get("auto_map") != before.get("auto_map"):
            found.append(f"remote code: auto_map of {name} is {after.get('auto_map')}")
    if new.config.get("quantization_config") != proven.config.get("quantization_config"):
        found.append("quantisation: quantization_config of config.json is another one")
    length, was = (one.config.get("max_position_embeddings") for one in (new, proven))
    if isinstance(length, int) and isinstance(was, int) and length < was:
        found.append(f"context: {length} positions, {was} before")
    found += _named("weights", "named by an index and not there", new.missing)
    return found + _named("weights", "not safetensors", new.unreadable)


def _tokenizer_config(inspection: HubInspection) -> Mapping[str, Any]:
    return inspection.documents.get("tokenizer_config.json", {})


def _changed(new: HubCommit, proven: HubCommit, of: Callable[[str], bool]) -> list[str]:
    """Paths of such files that the proven commit has not, or has with other contents."""
    before = {file.path: _contents(file) for file in proven.files}
    return [file.path for file in new.files if of(file.path) and before.get(file.path) != _contents(file)]


def _contents(file: HubFile) -> str | None:
    return file.sha256 or file.git_sha1


def _plain(path: str) -> bool:
    """Whether a path stays below its folder and is written with the signs that file names are written with."""
    parts = path.split("/")
    return bool(re.fullmatch(r"[\w.,+@=()\[\] -]+(/[\w.,+@=()\[\] -]+)*", path)) and not {
        "..",
        ".",
        ".git",
    } & {*parts}


def _has(commit: HubCommit, suffixes: tuple[str, ...]) -> bool:
    return any(file.path.endswith(suffixes) for file in commit.files)


def _tokenizers(commit: HubCommit) -> set[str]:
    return {file.path for file in commit.files} & {*TOKENIZERS}


def _named(name: str, what: str, paths: Iterable[str]) -> list[str]:
    """One reason for all such files; none without one."""
    listed = sorted(paths)
    if not listed:
        return []
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return [f"{name}: {what}: {', '.join(listed[:NAMED])}{more}"]
