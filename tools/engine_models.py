"""Read what one vLLM version can serve from its wheel: writes tasks/preflight/engine_models/VERSION.json.

Architectures by what they do (the literal dicts of vllm/model_executor/models/registry.py), which of them cannot be split into
pipeline stages or keep recurrent states (the classes' bases), names of tool and reasoning parsers, load formats, keys
of JSON flags (fields of the configuration classes), variables it reads, and the rope types whose factor is counted in already. Nothing of the wheel is run.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from tools.engine_flags import Reader
from tools.wheel import Wheel

REGISTRY = "vllm.model_executor.models.registry"
MODELS = "vllm.model_executor.models"
MODEL_CONFIG = ("vllm.config.model", "vllm.config.__init__", "vllm.config")
ENVIRONMENT = "vllm.envs"
CHAT_TEMPLATES = "vllm.transformers_utils.chat_templates.registry"
# Newest first: where a version keeps its parsers.
TOOLS = ("vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers")
REASONING = ("vllm.reasoning",)
GENERATES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS", "_TRANSFORMERS_BACKEND_MODELS", "_TRANSFORMERS_MODELS", "_FALLBACK_MODEL")  # fmt: skip
POOLS = ("_EMBEDDING_MODELS", "_CROSS_ENCODER_MODELS", "_LATE_INTERACTION_MODELS", "_REWARD_MODELS", "_TOKEN_CLASSIFICATION_MODELS", "_SEQUENCE_CLASSIFICATION_MODELS")  # fmt: skip
DRAFTS = ("_SPECULATIVE_DECODING_MODELS",)


class Registry:
    """The model registry of one wheel."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel

    def table(self, name: str) -> dict[str, tuple[str, str]]:
        """One dict of the registry: architecture -> (module, class). A comprehension in it is left out: its keys are in another."""
        found = self.wheel.find(REGISTRY, name)
        value = getattr(found[1], "value", None) if found else None
        result: dict[str, tuple[str, str]] = {}
        if not isinstance(value, ast.Dict):
            return result
        for key, target in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(target, ast.Tuple):
                module, owner = ast.literal_eval(target)
                result[str(key.value)] = (module, owner)
        return result

    def tables(self, names: Iterable[str]) -> dict[str, tuple[str, str]]:
        return {key: value for name in names for key, value in self.table(name).items()}

    def literal(self, module: str, name: str) -> dict[str, Any]:
        """The keys of a dict of a module, with their values where those are literals."""
        found = self.wheel.find(module, name)
        value = getattr(found[1], "value", None) if found else None
        if not isinstance(value, ast.Dict):
            return {}
        return {
            str(key.value): getattr(target, "value", None)
            for key, target in zip(value.keys, value.values, strict=True)
            if isinstance(key, ast.Constant)
        }

    def bases(self, module: str, owner: str, depth: int = 0) -> set[str]:
        """Names of all bases of a model's class, theirs too."""
        where = module if module.startswith("vllm.") else f"{MODELS}.{module}"
        found = self.wheel.find(where, owner)
        if found is None or not isinstance(found[1], ast.ClassDef) or depth > 8:
            return set()
        names: set[str] = set()
        for base in found[1].bases:
            name = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
            names |= {name} | self.bases(found[0], name, depth + 1)
        return names


def read_models(wheel: Wheel) -> dict[str, Any]:
    """The document of engine_models/VERSION.json but for its version and source."""
    registry = Registry(wheel)
    generate, pooling, draft = (registry.tables(names) for names in (GENERATES, POOLS, DRAFTS))
    if not generate:
        raise ValueError(f"{REGISTRY} has no {GENERATES[0]}")
    bases = {name: registry.bases(*where) for name, where in (pooling | generate).items()}
    return {
        "generate": sorted(generate),
        "pooling": sorted(set(pooling) - set(generate)),
        "draft": sorted(draft),
        "unsplit": sorted(name for name, found in bases.items() if found and "SupportsPP" not in found),
        "stateful": sorted(
            name for name, found in bases.items() if found & {"IsHybrid", "IsAttentionFree", "HasInnerState"}
        ),
        "removed": registry.literal(REGISTRY, "_PREVIOUSLY_SUPPORTED_MODELS"),
        "plugin": registry.literal(REGISTRY, "_OOT_SUPPORTED_MODELS"),
        "tool_parsers": sorted(parsers(wheel, TOOLS, "_TOOL_PARSERS_TO_REGISTER")),
        "reasoning_parsers": sorted(parsers(wheel, REASONING, "_REASONING_PARSERS_TO_REGISTER")),
        "load_formats": sorted(load_formats(wheel)),
        "chat_templates": sorted(registry.literal(CHAT_TEMPLATES, "_MODEL_TYPE_TO_CHAT_TEMPLATE_FALLBACK")),
        "rope_not_scaled": list(rope_not_scaled(wheel)),
        "environment": sorted(registry.literal(ENVIRONMENT, "environment_variables")),
        "keys": dict(sorted(config_keys(wheel).items())),
    }


def parsers(wheel: Wheel, packages: Iterable[str], name: str) -> set[str]:
    """Names of the parsers: of the table of newer versions, of the decorators of older ones."""
    package = next((each for each in packages if wheel.tree(each)), None)
    if package is None:
        return set()
    if table := Registry(wheel).literal(package, name):
        return set(table)
    found: set[str] = set()
    for module in wheel.modules(package):
        tree = wheel.tree(module)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "register_module":
                words = [*node.args, *(word.value for word in node.keywords if word.arg == "name")]
                for word in words:
                    found |= {
                        str(constant.value)
                        for constant in ast.walk(word)
                        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
                    }
    return found


def load_formats(wheel: Wheel) -> set[str]:
    """What --load-format takes: the loaders' names, or the enum of older versions."""
    found = wheel.find("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER")
    value = getattr(found[1], "value", None) if found else None
    if isinstance(value, ast.Dict):
        return {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
    for module in ("vllm.config.load", "vllm.config.__init__", "vllm.config"):
        at = wheel.find(module, "LoadFormat")
        if at and isinstance(at[1], ast.ClassDef):
            return {
                str(statement.value.value)
                for statement in at[1].body
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
            }
    return set()


def rope_not_scaled(wheel: Wheel) -> Iterator[str]:
    """The rope types `_get_and_verify_max_len` does not multiply a model's length by."""
    at = next(
        (found for module in MODEL_CONFIG if (found := wheel.find(module, "_get_and_verify_max_len"))), None
    )
    for node in ast.walk(at[1]) if at else ():
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.NotIn):
            continue
        if ast.unparse(node.left) in ("rope_type", "rp['rope_type']"):
            yield from map(str, ast.literal_eval(node.comparators[0]))


def config_keys(wheel: Wheel) -> dict[str, list[str]]:
    """JSON flag -> the fields of the configuration class it is read into; only classes that refuse other keys."""
    reader = Reader(wheel)
    found: dict[str, list[str]] = {}
    for flag, module, owner in reader.documents():
        fields = wheel.fields(module, owner)
        if fields and refuses_others(wheel, module, owner):
            found[flag] = sorted(name for name in fields if not name.startswith("_"))
    return found


def refuses_others(wheel: Wheel, module: str, owner: str) -> bool:
    """Whether a configuration class refuses keys it does not have: pydantic and plain dataclasses do."""
    at = wheel.find(module, owner)
    decorators = getattr(at[1], "decorator_list", []) if at else []
    text = " ".join(ast.unparse(decorator) for decorator in decorators)
    return ("config" in text or "dataclass" in text) and "extra='allow'" not in text


def written(document: dict[str, Any]) -> str:
    """JSON with several list items on a line."""
    lines = []
    for key, value in document.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = f"[\n{_filled(value, '  ')}\n ]" if value else "[]"
        elif key == "keys":
            inner = ",\n".join(
                f"  {json.dumps(flag)}: [\n{_filled(keys, '   ')}\n  ]" for flag, keys in value.items()
            )
            text = f"{{\n{inner}\n }}"
        elif isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
            text = f"{{\n{inner}\n }}" if value else "{}"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _filled(words: list[Any], indent: str) -> str:
    text = ", ".join(map(json.dumps, words))
    return textwrap.fill(text, 118, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
