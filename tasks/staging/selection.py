"""Choose which of a repo's files are staged. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from tasks.records.model import Source
from tasks.records.results import PICKLES, HubFile
from tasks.records.weights import weight_files

# Formats vLLM does not read where safetensors are there, by how their names end.
_OTHER_FRAMEWORKS = (".h5", ".msgpack", ".onnx", ".onnx_data", ".tflite", ".ot", ".mlmodel")
_OWN_FOLDER = ".slipway/"


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Match shell patterns over the whole path, as huggingface_hub does; a trailing slash means everything below."""
    return any(fnmatchcase(path, f"{p}*" if p.endswith("/") else p) for p in patterns)


def select(files: Iterable[HubFile], source: Source) -> tuple[tuple[HubFile, ...], tuple[str, ...]]:
    """Returns (files to stage in the order of their paths, a line about each that is left out)."""
    chosen: list[HubFile] = []
    skipped: list[str] = []
    listed = sorted(files, key=lambda file: file.path)
    has_safetensors = any(
        file.path.endswith(".safetensors") and _left_out(file.path, source, has_safetensors=False) is None
        for file in listed
    )
    eligible = [file.path for file in listed if not _left_out(file.path, source, has_safetensors=False)]
    copies = () if source.allow else weight_files(eligible).copies
    for file in listed:
        reason = _left_out(file.path, source, has_safetensors=has_safetensors)
        if not reason and file.path in copies:
            reason = "a second copy of the weights (name it in source.allow to stage it)"
        if reason:
            skipped.append(f"{file.path}: {reason}")
        else:
            chosen.append(file)
    return tuple(chosen), tuple(skipped)


def _left_out(path: str, source: Source, *, has_safetensors: bool) -> str | None:
    if path.startswith(_OWN_FOLDER):
        return "that folder is for Slipway's own records"
    if source.allow and not matches(path, source.allow):
        return "no allow pattern matches it"
    if matches(path, source.ignore):
        return "an ignore pattern matches it"
    if has_safetensors and path.endswith(PICKLES):
        return "a pickle, and the repo has safetensors"
    if has_safetensors and path.endswith(_OTHER_FRAMEWORKS):
        return "another framework's weights, and the repo has safetensors"
    return None
