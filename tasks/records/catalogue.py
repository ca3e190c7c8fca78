"""Load models/*.yaml and environments/*.yaml; errors name file and line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tasks.records.chat_template import read_template
from tasks.records.environment import Environment
from tasks.records.errors import InvalidDocument, UnknownName
from tasks.records.model import Model
from tasks.records.record import Record

R = TypeVar("R", bound=Record)


def project_root() -> Path:
    """Find the folder that holds models/, environments/, k8s/ and infra/.

    SLIPWAY_HOME where it is set, else the nearest folder at or above the working folder with both catalogues,
    else the checkout this package was installed from. Raises UnknownName where none of them is one.
    """
    given = os.environ.get("SLIPWAY_HOME")
    here = Path.cwd()
    candidates = [Path(given)] if given else [here, *here.parents, Path(__file__).resolve().parents[2]]
    for folder in candidates:
        if (folder / "models").is_dir() and (folder / "environments").is_dir():
            return folder
    raise UnknownName(
        f"no Slipway project at {candidates[0]}: a project has the folders models/ and environments/",
        next_command="run it in a checkout of the project, or set SLIPWAY_HOME to one",
    )


def load_model(name: str, root: Path | None = None) -> Model:
    """Read models/{name}.yaml. Raises UnknownName with the nearest names, or InvalidDocument with file and line."""
    root = root or project_root()
    model = _load(Model, "models", name, root)
    if template := model.engine.chat_template:
        return model.with_chat_template(read_template(template, root, f"models/{name}.yaml"))
    return model


def load_environment(name: str, root: Path | None = None) -> Environment:
    """Read environments/{name}.yaml. Raises UnknownName with the nearest names, or InvalidDocument."""
    return _load(Environment, "environments", name, root or project_root())


def names(kind: str, root: Path) -> list[str]:
    """List the names of the catalogue. `kind`: "models" or "environments"."""
    return sorted(path.stem for path in (root / kind).glob("*.yaml"))


def _load(record: type[R], kind: str, name: str, root: Path) -> R:
    known = names(kind, root)
    if name not in known:  # membership, not a path join: "../x" is a name nobody has
        raise _unknown(kind, name, known)
    path = root / kind / f"{name}.yaml"
    loaded = read_document(record, path, shown_as=f"{kind}/{name}.yaml")
    if loaded.name != name:  # type: ignore[attr-defined]
        raise InvalidDocument(
            f"{kind}/{name}.yaml says name: {loaded.name}; a file is called by its name",  # type: ignore[attr-defined]
            next_command=f"edit {kind}/{name}.yaml",
        )
    return loaded


def _unknown(kind: str, name: str, known: Sequence[str]) -> UnknownName:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    suggestion = f"; did you mean {' or '.join(near)}?" if near else ""
    return UnknownName(
        f"there is no {kind.removesuffix('s')} {name!r}{suggestion}",
        evidence=[f"{kind}/ has: {', '.join(known) or 'nothing'}"],
        next_command=f"ls {kind}/",
    )


def read_document(record: type[R], path: Path, shown_as: str) -> R:
    """Read one YAML file as a record. Raises InvalidDocument with one line of evidence for each mistake."""
    node, document = read_yaml(path, shown_as)
    try:
        return record.model_validate(document)
    except ValidationError as error:
        problems = [
            f"{shown_as}:{_line(node, problem['loc'])}: {'.'.join(map(str, problem['loc'])) or 'document'}: "
            f"{_message(record, problem)}"
            for problem in error.errors()
        ]
        raise InvalidDocument(problems[0], evidence=problems[1:], next_command=f"edit {shown_as}") from None


def read_yaml(path: Path, shown_as: str) -> tuple[yaml.Node | None, Any]:
    """Read one YAML file: its nodes, which know their lines, and its document. Raises InvalidDocument."""
    try:
        text = path.read_text("utf-8")
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"{shown_as}: not UTF-8: {error}", next_command=f"edit {shown_as}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f"{shown_as}:{mark.line + 1}" if mark else shown_as
        raise InvalidDocument(
            f"{position}: not YAML: {getattr(error, 'problem', error)}", next_command=f"edit {shown_as}"
        ) from None


def _line(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    """Find the line of the deepest key of `location` that is in the file."""
    line = node.start_mark.line + 1 if node else 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if not found:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _message(record: type[Record], problem: Any) -> str:
    """One mistake that pydantic found, in words; an unknown key with the nearest known one."""
    if problem["type"] == "extra_forbidden":
        owner: Any = record
        for step in problem["loc"][:-1]:
            field = getattr(owner, "model_fields", {}).get(step)
            owner = field.annotation if field else None
        near = difflib.get_close_matches(
            str(problem["loc"][-1]), list(getattr(owner, "model_fields", {})), n=1
        )
        return "unknown key" + (f"; did you mean {near[0]}?" if near else "")
    message: str = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    return message if isinstance(given, dict) or given is None else f"{message} (it says {given!r})"
