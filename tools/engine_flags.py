"""Read the flags of one vLLM version from its wheel: writes tasks/preflight/engine_flags/VERSION.json.

    pip download --no-deps --only-binary :all: vllm==0.34.0
    python -m tools.engine_flags vllm-0.34.0-*.whl > tasks/preflight/engine_flags/0.34.0.json

Nothing of the wheel is run. vLLM makes most flags from the fields of its configuration classes (`get_kwargs` in
vllm/engine/arg_utils.py), so the classes' annotations are read as that function reads them.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.wheel import Node, Wheel, kind_of

ENGINE = "vllm.engine.arg_utils"
# where `vllm serve` keeps its own flags, newest first
FRONTENDS = ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")  # fmt: skip
SERVE = "vllm.entrypoints.cli.serve"
QUANTIZATION = "vllm.model_executor.layers.quantization"
# Flags typed as a dict whose keys `create_speculative_config` in arg_utils.py passes to a class.
MADE_FROM_DICTS = {"--speculative-config": "SpeculativeConfig"}
# "switch" has no --no- form, "optional" may stand without its value, "size" may be 32k
KINDS = ("boolean", "switch", "optional", "integer", "size", "number", "json", "list", "text")
ENDING = re.compile(r"(?i)(is|are|been) (now )?deprecated|deprecated[:;\]]|will be removed|has been replaced")


@dataclass(frozen=True)
class Flag:
    """One flag as argparse gets it. `choices`: for kind "choice". `note`: vLLM's deprecation text. `owner`: module and
    name of the class a JSON flag is read into."""

    names: tuple[str, ...]
    kind: str
    choices: tuple[str, ...] = ()
    note: str = ""
    owner: tuple[str, str] | None = None


class Reader:
    """Collect flags from the functions that build the parser of `vllm serve`."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel
        self.frontend = next(module for module in FRONTENDS if wheel.tree(module))
        self.sized = self._sized()

    def _sized(self) -> set[str]:
        """Fields whose values may be written like `32k`; the function that makes the flags names them."""
        names = {"max_model_len"}
        for function in ("_compute_kwargs", "get_kwargs"):
            if found := self.wheel.find(ENGINE, function):
                sets = [node for node in ast.walk(found[1]) if isinstance(node, ast.Set)]
                names |= {
                    c.value
                    for node in sets
                    for c in node.elts
                    if isinstance(c, ast.Constant) and isinstance(c.value, str)
                }
        return names

    def flags(self) -> list[Flag]:
        """All flags, sorted. A later definition of the same flag replaces an earlier one."""
        found: dict[str, Flag] = {}
        for module, function in self._functions():
            for flag in self._of(module, function):
                found[flag.names[0]] = flag
        return [found[name] for name in sorted(found)]

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """(flag, module, class) of each JSON flag that a configuration class is made from."""
        for flag in self.flags():
            if flag.kind == "json" and flag.owner:
                yield flag.names[0], *flag.owner
            elif flag.names[0] in MADE_FROM_DICTS:
                yield flag.names[0], ENGINE, MADE_FROM_DICTS[flag.names[0]]

    def _functions(self) -> Iterator[tuple[str, ast.FunctionDef]]:
        """The functions that add flags, in the order they run."""
        for module, owner, name in (
            (SERVE, "ServeSubcommand", "subparser_init"),
            (self.frontend, None, "make_arg_parser"),
            (self.frontend, "BaseFrontendArgs", "add_cli_args"),
            (self.frontend, "FrontendArgs", "add_cli_args"),
            (ENGINE, "EngineArgs", "add_cli_args"),
            (ENGINE, "AsyncEngineArgs", "add_cli_args"),
        ):
            scope = self.wheel.find(module, owner) if owner else (module, self.wheel.tree(module))
            body = getattr(scope[1], "body", []) if scope and scope[1] else []
            for statement in body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    yield module, statement

    def _of(self, module: str, function: ast.FunctionDef) -> Iterator[Flag]:
        classes = _kwargs_of(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                names = [
                    a.value for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("-")
                ]
                if names:
                    yield self._one(module, node, classes, tuple(map(str, names)))
                elif any("replace('_', '-')" in ast.unparse(argument) for argument in node.args):
                    yield from self._all_fields(module)

    def _one(
        self, module: str, call: ast.Call, classes: dict[str, tuple[str, str]], names: tuple[str, ...]
    ) -> Flag:
        flag = Flag(_long_first(names), "text")
        for word in call.keywords:
            if word.arg is None:
                flag = self._from_field(module, word.value, classes, flag)
        return _overridden(flag, call.keywords, lambda node: self._words(module, node))

    def _from_field(self, module: str, node: Node, classes: dict[str, tuple[str, str]], flag: Flag) -> Flag:
        """`**load_kwargs["load_format"]`, also inside a dict that changes its default, or a variable set to such a thing."""
        if isinstance(node, ast.Dict):
            unpacked = [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
            return self._from_field(module, unpacked[0], classes, flag) if unpacked else flag
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
        ):
            owner, field = classes.get(node.value.id, ("", ""))[0], str(node.slice.value)
        elif isinstance(node, ast.Name):
            owner, field = classes.get(node.id, ("", ""))
        else:
            return flag
        fields = self.wheel.fields(module, owner)
        if field not in fields:
            raise ValueError(f"{flag.names[0]}: {owner}.{field} is not to be found in {module}")
        return self._field(field, fields[field], flag.names)

    def _field(self, name: str, field: tuple[str, Node, str], names: tuple[str, ...]) -> Flag:
        module, annotation, words = field
        hints = self.wheel.hints(module, annotation)
        kind, choices = kind_of(hints, sized=name in self.sized)
        owner = next((options[0] for hint, options in hints if hint == "class"), None)
        return Flag(names, kind, choices, _note(words), (module, str(owner)) if owner else None)

    def _all_fields(self, module: str) -> Iterator[Flag]:
        """One flag for each field of FrontendArgs, with the changes its functions make."""
        changed = _changes(self.wheel, module)
        for name, field in self.wheel.fields(module, "FrontendArgs").items():
            flag = self._field(name, field, (f"--{name.replace('_', '-')}",))
            yield replace(flag, kind=changed[name]) if name in changed else flag

    def _words(self, module: str, node: Node) -> str:
        """The help text of an argument, also where it is a module constant."""
        if isinstance(node, ast.Name) and (found := self.wheel.find(module, node.id)):
            node = getattr(found[1], "value", node)
        return str(node.value) if isinstance(node, ast.Constant) else ""


def _kwargs_of(function: ast.FunctionDef) -> dict[str, tuple[str, str]]:
    """Variable -> the class and the field it holds the flags of: `x = get_kwargs(LoadConfig)`, also with `["field"]`."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        value, field = _without_key(node.value)
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "get_kwargs":
            found[node.targets[0].id] = (ast.unparse(value.args[0]), field)
        elif isinstance(value, ast.Name) and value.id in found and field:
            found[node.targets[0].id] = (found[value.id][0], field)
    return found


def _without_key(node: Node) -> tuple[Node, str]:
    """`x["field"]` as x and field; "" where there is none."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.value, str(node.slice.value)
    return node, ""


def _overridden(flag: Flag, keywords: Sequence[ast.keyword], words: Callable[[Node], str]) -> Flag:
    """Apply the keywords of add_argument that override the field: action, type, choices, nargs, help."""
    for word in keywords:
        text = ast.unparse(word.value)
        if word.arg == "action":
            plain = {
                "'store_true'": "switch",
                "'store_false'": "switch",
                "'append'": "text",
                "StoreBoolean": "optional",
            }
            kind = plain.get(text)
            flag = replace(flag, kind=kind or ("boolean" if "Boolean" in text else flag.kind), choices=())
        elif word.arg == "type":
            plain = {"int": "integer", "float": "number", "json.loads": "json", "str": "text"}
            kind = (
                "size"
                if "human_readable" in text
                else plain.get(text.removeprefix("optional_type(").rstrip(")"))
            )
            flag = replace(flag, kind=kind or "text", choices=())
        elif word.arg == "choices":
            try:
                flag = replace(
                    flag, kind="choice", choices=tuple(sorted(map(str, ast.literal_eval(word.value))))
                )
            except ValueError:
                flag = replace(flag, kind="text", choices=())  # made when vLLM starts
        elif word.arg == "nargs" and text in ("'+'", "'*'", "'?'"):
            flag = replace(flag, kind="optional" if text == "'?'" else "list", choices=())
        elif word.arg == "help":
            flag = replace(flag, note=_note(words(word.value)) or flag.note)
        elif word.arg == "deprecated" and text == "True":
            flag = replace(flag, note=flag.note or "deprecated")
    return flag


def _changes(wheel: Wheel, module: str) -> dict[str, str]:
    """Field -> kind, where FrontendArgs's functions set `type`, `action` or take `nargs` away."""
    changed: dict[str, str] = {}
    for owner in ("BaseFrontendArgs", "FrontendArgs"):
        found = wheel.find(module, owner)
        for node in ast.walk(found[1]) if found else ():
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
            for target in targets:
                parts = ast.unparse(target).replace('"', "'").split("['")
                if len(parts) != 3 or parts[0] != "frontend_kwargs":
                    continue
                field, what = parts[1].removesuffix("']"), parts[2].removesuffix("']")
                value = ast.unparse(node.value) if isinstance(node, ast.Assign) else ""
                if what == "type" and "json.loads" in value:
                    changed[field] = "json"
                elif what in ("type", "nargs") and changed.get(field) != "json":
                    changed[field] = "list" if "optional_type" in value else "text"
                elif what == "action" and "append" in value:
                    changed[field] = "text"
    return changed


def _long_first(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: not name.startswith("--")))


def _note(words: str) -> str:
    """The sentences of a help text that announce deprecation or removal."""
    sentences = " ".join(words.split()).split(". ")
    first = next((i for i, sentence in enumerate(sentences) if ENDING.search(sentence)), len(sentences))
    return ". ".join(sentences[first : first + 2]).rstrip(".")


def quantizations(wheel: Wheel) -> dict[str, dict[str, Any]]:
    """Quantisation method -> least compute capability (75: 7.5) and dtypes, from the classes in
    `get_quantization_config`."""
    found = wheel.find(QUANTIZATION, "get_quantization_config")
    chosen: dict[str, str] = {}
    for node in ast.walk(found[1]) if found else ():
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Name):
                    chosen[str(key.value)] = value.id
    imports = [node for node in ast.walk(found[1]) if isinstance(node, ast.ImportFrom)] if found else []
    told: dict[str, dict[str, Any]] = {}
    for method, owner in chosen.items():
        source = next(
            (node for node in imports for alias in node.names if (alias.asname or alias.name) == owner), None
        )
        at = (
            wheel.find(wheel.source(QUANTIZATION, source), owner)
            if source
            else wheel.find(QUANTIZATION, owner)
        )
        if at and (least := wheel.returned(*at, "get_min_capability")) is not None:
            dtypes = wheel.returned(*at, "get_supported_act_dtypes") or ""
            told[method] = {
                "capability": int(least),
                "dtypes": re.findall(r"torch\.(\w+)", dtypes.replace("half", "float16")),
            }
    names = wheel.hints(QUANTIZATION, ast.Name("QuantizationMethods"))
    for method in (str(option) for _, options in names for option in options):
        told.setdefault(method, {})  # known, and made in a way that tells nothing here
    return dict(sorted(told.items()))


def table(flags: Sequence[Flag], methods: dict[str, Any], version: str, source: str) -> dict[str, Any]:
    """The document of engine_flags/VERSION.json: kind -> flags with their aliases."""
    document: dict[str, Any] = {"version": version, "source": source}
    for kind in KINDS:
        document[kind] = ["/".join(flag.names) for flag in flags if flag.kind == kind]
    document["choice"] = {"/".join(flag.names): list(flag.choices) for flag in flags if flag.kind == "choice"}
    document["quantization"] = methods
    document["ending"] = {flag.names[0]: flag.note for flag in flags if flag.note}
    return document


def read(wheel: Path) -> dict[str, Any]:
    """The table of one wheel. Raises ValueError where a flag is built in a way this reader does not know."""
    root = Wheel(zipfile.Path(wheel) if wheel.is_file() else wheel)
    reader = Reader(root)
    version = wheel.name.split("-")[1]
    source = f"{wheel.name}: {ENGINE}, {reader.frontend}, vllm.config, {QUANTIZATION}"
    return table(reader.flags(), quantizations(root), version, source)


def written(document: dict[str, Any]) -> str:
    """Format as JSON with several list items on a line."""
    lines = []
    for key, value in document.items():
        text = json.dumps(value, indent=1).replace("\n", "\n ")
        if isinstance(value, list):
            text = (
                "[\n"
                + textwrap.fill(
                    ", ".join(map(json.dumps, value)),
                    110,
                    initial_indent="  ",
                    subsequent_indent="  ",
                    break_on_hyphens=False,
                )
                + "\n ]"
            )
        elif key in ("choice", "quantization"):
            text = (
                "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
            )
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(written(read(Path(sys.argv[1]))))
