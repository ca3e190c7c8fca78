"""Parse the modules of a vLLM wheel and resolve names and types in them. Nothing of the wheel is run."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Node = ast.expr
Hint = tuple[str, tuple[Any, ...]]


class Wheel:
    """The modules of a wheel, or of a folder it was unpacked to, as syntax trees."""

    def __init__(self, root: Path | zipfile.Path) -> None:
        self._root = root
        self._trees: dict[str, ast.Module] = {}

    def tree(self, module: str) -> ast.Module | None:
        """None for a module that is not in the wheel."""
        if module not in self._trees:
            for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
                file = self._root.joinpath(name)
                if file.is_file():
                    self._trees[module] = ast.parse(file.read_text(encoding="utf-8"))
                    break
            else:
                return None
        return self._trees[module]

    def modules(self, package: str) -> list[str]:
        """Names of the modules right below a package."""
        folder = self._root.joinpath(package.replace(".", "/"))
        names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        return sorted(f"{package}.{name.removesuffix('.py')}" for name in names if name.endswith(".py"))

    def find(self, module: str, name: str, depth: int = 0) -> tuple[str, ast.stmt] | None:
        """Where a name used in a module is defined: the module and the statement. None for what is not vLLM's."""
        tree = self.tree(module)
        if tree is None or depth > 8:
            return None
        for statement in _top_level(tree):
            if _defines(statement, name):
                return module, statement
        for statement in _top_level(tree):
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return self.find(self.source(module, statement), alias.name, depth + 1)
        return None

    def source(self, module: str, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        package = (
            module if self._root.joinpath(module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
        )
        for _ in range(statement.level - 1):
            package = package.rpartition(".")[0]
        return f"{package}.{statement.module}" if statement.module else package

    def fields(self, module: str, name: str) -> dict[str, tuple[str, Node, str]]:
        """A configuration class's fields with its bases': the module of each, its annotation, its docstring."""
        found = self.find(module, name)
        if found is None:
            return {}
        module, definition = found
        if not isinstance(definition, ast.ClassDef):
            return {}
        fields: dict[str, tuple[str, Node, str]] = {}
        for base in definition.bases:
            if isinstance(base, ast.Name):
                fields |= self.fields(module, base.id)
        for statement, after in zip(definition.body, [*definition.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                told = after.value if isinstance(after, ast.Expr) else None
                words = str(told.value) if isinstance(told, ast.Constant) else ""
                fields[statement.target.id] = (module, statement.annotation, words)
        return fields

    def returned(self, module: str, definition: ast.stmt, method: str) -> str | None:
        """The source of the value a method returns, looked up in base classes too; None without a return."""
        if not isinstance(definition, ast.ClassDef):
            return None
        for statement in definition.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == method:
                values = [
                    node.value for node in ast.walk(statement) if isinstance(node, ast.Return) and node.value
                ]
                return ast.unparse(values[0]) if values else None
        for base in definition.bases:
            found = self.find(module, base.id) if isinstance(base, ast.Name) else None
            if found and (value := self.returned(*found, method)):
                return value
        return None

    def hints(self, module: str, node: Node) -> list[Hint]:
        """The types an annotation allows: ("int", ()), ("Literal", its options), ("class", (name,)) and so on."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self.hints(module, ast.parse(node.value, mode="eval").body)
            return [("None", ())]
        if isinstance(node, ast.BinOp):
            return [*self.hints(module, node.left), *self.hints(module, node.right)]
        if isinstance(node, ast.Subscript):
            return self._subscripted(module, node)
        if isinstance(node, ast.Name):
            return self._named(module, node.id)
        return [("other", ())]

    def _subscripted(self, module: str, node: ast.Subscript) -> list[Hint]:
        name = (
            node.value.id if isinstance(node.value, ast.Name) else ast.unparse(node.value).rpartition(".")[2]
        )
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            options = [option for each in inner for option in self._options(module, each)]
            return [("Literal", tuple(options))]
        if name == "Optional":
            return [*self.hints(module, inner[0]), ("None", ())]
        if name == "Union":
            return [hint for each in inner for hint in self.hints(module, each)]
        if name in ("Annotated", "SkipValidation"):
            return self.hints(module, inner[0])
        return [(name.lower() if name.lower() in ("list", "tuple", "set", "dict") else "other", ())]

    def _options(self, module: str, node: Node) -> list[Any]:
        if isinstance(node, ast.Constant):
            return [node.value]
        return [
            option for kind, options in self.hints(module, node) if kind == "Literal" for option in options
        ]

    def _named(self, module: str, name: str) -> list[Hint]:
        if name in ("bool", "int", "float", "str", "dict", "list", "tuple", "set"):
            return [(name, ())]
        found = self.find(module, name)
        if found is None:
            return [("other", ())]
        where, statement = found
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return self.hints(where, statement.value)
        if isinstance(statement, ast.ClassDef):
            decorated = any(
                "config" in ast.unparse(d) or "dataclass" in ast.unparse(d) for d in statement.decorator_list
            )
            is_dict = any(ast.unparse(base).partition("[")[0] in ("dict", "Dict") for base in statement.bases)
            return [("class" if decorated else "dict" if is_dict else "other", (name,))]
        return [("other", ())]


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    for statement in tree.body:
        yield statement
        if isinstance(statement, ast.If):
            yield from statement.body
            yield from statement.orelse


def _defines(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return statement.name == name
    if isinstance(statement, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)
    return (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id == name
    )


def kind_of(hints: Sequence[Hint], *, sized: bool) -> tuple[str, tuple[str, ...]]:
    """What `get_kwargs` makes of a field's types, in its own order: the kind and the choices. Pure."""
    names = {kind for kind, _ in hints}
    if "class" in names:
        return "json", ()
    if names == {"bool", "str", "None"}:
        return "optional", ()
    if "bool" in names:
        return "boolean", ()
    if "Literal" in names:
        options = [option for kind, found in hints if kind == "Literal" for option in found]
        return ("text", ()) if "str" in names else ("choice", tuple(map(str, sorted(options))))
    if names & {"tuple", "list", "set"}:
        return "list", ()
    if "int" in names:
        return ("size" if sized else "integer"), ()
    if "float" in names:
        return "number", ()
    if "dict" in names:
        return ("text" if names & {"str", "other"} else "json"), ()
    return "text", ()
