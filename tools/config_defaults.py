"""Read what a config.json may leave out, from the wheels of transformers and vLLM.

    pip download --no-deps --only-binary :all: transformers==5.19.0 vllm==0.32.0
    python -m tools.config_defaults transformers-5.19.0-*.whl vllm-0.32.0-*.whl > tasks/preflight/engine_tables/config_defaults.json

Nothing of a wheel is run: the configuration classes' fields and `attribute_map` are read as syntax trees. vLLM's own
classes (vllm/transformers_utils/configs) replace those of transformers, as they do in vLLM (`_CONFIG_REGISTRY`).
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.wheel import Wheel

# Fields that memory, context and ranks are computed from; a class has hundreds of others.
READ = frozenset(
    [
        "attention_chunk_size",
        "attention_head_dim",
        "attn_layer_offset",
        "attn_layer_period",
        "conv_L_cache",
        "conv_dim",
        "conv_kernel",
        "d_conv",
        "d_inner",
        "d_model",
        "d_state",
        "decoder_attention_heads",
        "decoder_ffn_dim",
        "decoder_layers",
        "dim",
        "encoder_attention_heads",
        "encoder_layers",
        "expand",
        "expert_layer_offset",
        "expert_layer_period",
        "ffn_dim",
        "ffn_hidden_size",
        "first_k_dense_replace",
        "full_attention_interval",
        "global_attn_every_n_layers",
        "global_head_dim",
        "head_dim",
        "hidden_size",
        "hidden_size_per_head",
        "hidden_size_per_layer_input",
        "index_head_dim",
        "index_n_heads",
        "intermediate_size",
        "kv_lora_rank",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "local_attention",
        "mamba_d_conv",
        "mamba_d_head",
        "mamba_d_ssm",
        "mamba_d_state",
        "mamba_dt_rank",
        "mamba_expand",
        "mamba_head_dim",
        "mamba_headdim",
        "mamba_n_groups",
        "mamba_n_heads",
        "mamba_ngroups",
        "mamba_num_heads",
        "max_position_embeddings",
        "max_seq_len",
        "max_source_positions",
        "max_target_positions",
        "max_window_layers",
        "model_max_length",
        "moe_intermediate_size",
        "moe_num_experts",
        "multi_query",
        "multi_query_group_num",
        "n_ctx",
        "n_embd",
        "n_groups",
        "n_head",
        "n_head_kv",
        "n_heads",
        "n_inner",
        "n_layer",
        "n_layers",
        "n_mamba_heads",
        "n_positions",
        "n_routed_experts",
        "new_decoder_architecture",
        "no_rope_layer_interval",
        "num_attention_groups",
        "num_attention_heads",
        "num_experts",
        "num_experts_per_tok",
        "num_global_key_value_heads",
        "num_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "num_kv_heads",
        "num_kv_shared_layers",
        "num_layers",
        "num_local_experts",
        "num_mem_blocks",
        "padded_vocab_size",
        "q_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "seq_length",
        "sliding_window",
        "sliding_window_pattern",
        "ssm_state_size",
        "state_size",
        "tie_word_embeddings",
        "time_step_rank",
        "use_sliding_window",
        "v_head_dim",
        "vocab_size",
    ]
)
AUTO = "transformers.models.auto.modeling_auto"


def config_classes(wheel: Wheel, modules: list[str]) -> Iterator[tuple[str, ast.ClassDef]]:
    """Each configuration class of some modules, with its module."""
    for module in modules:
        tree = wheel.tree(module)
        for statement in tree.body if tree else ():
            if isinstance(statement, ast.ClassDef) and statement.name.endswith("Config"):
                yield module, statement


def described(wheel: Wheel, module: str, definition: ast.ClassDef, depth: int = 0) -> dict[str, Any]:
    """One class: its defaults, `attribute_map`, `model_type`, and the class of its text_config; bases first."""
    found: dict[str, Any] = {"defaults": {}, "map": {}}
    for base in definition.bases:
        at = wheel.find(module, base.id) if isinstance(base, ast.Name) and depth < 4 else None
        if at and isinstance(at[1], ast.ClassDef) and at[1].name != "PreTrainedConfig":
            inherited = described(wheel, at[0], at[1], depth + 1)
            found["defaults"] |= inherited["defaults"]
            found["map"] |= inherited["map"]
            found |= {key: inherited[key] for key in ("text_class",) if key in inherited}
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            _keep(found["defaults"], statement.target.id, statement.value)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            _class_value(found, statement.targets[0].id, statement.value)
        elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            arguments = statement.args.args[len(statement.args.args) - len(statement.args.defaults) :]
            for argument, default in zip(arguments, statement.args.defaults, strict=True):
                _keep(found["defaults"], argument.arg, default)
    return found


def _class_value(found: dict[str, Any], name: str, value: ast.expr) -> None:
    if name == "model_type" and isinstance(value, ast.Constant):
        found["model_type"] = value.value
    elif name == "attribute_map" and isinstance(value, ast.Dict):
        found["map"] |= {
            key: target for key, target in ast.literal_eval(value).items() if key in READ or target in READ
        }
    elif name == "sub_configs" and isinstance(value, ast.Dict):
        for key, node in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "text_config" and isinstance(node, ast.Name):
                found["text_class"] = node.id
    else:
        _keep(found["defaults"], name, value)


def _keep(defaults: dict[str, Any], name: str, value: ast.expr | None) -> None:
    if name not in READ or value is None:
        return
    try:
        literal = _literal(value)
    except ValueError:
        return
    if literal is None or isinstance(literal, int | float | str | bool):
        defaults[name] = literal


def _literal(node: ast.expr) -> Any:
    """A literal, or a product of literals such as 4096 * 32. Raises ValueError for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _literal(node.left) * _literal(node.right)
    return ast.literal_eval(node)


def modules_of(root: Path | zipfile.Path, package: str, prefix: str) -> list[str]:
    """Names of the modules below `package` whose file begins with `prefix`."""
    found = []
    for folder in _folders(root.joinpath(*package.split("."))):
        for file in folder.iterdir():
            if file.name.startswith(prefix) and file.name.endswith(".py") and file.name != "__init__.py":
                parents = [package] if folder.name == package.rpartition(".")[2] else [package, folder.name]
                found.append(".".join([*parents, file.name.removesuffix(".py")]))
    return sorted(found)


def _folders(folder: Any) -> list[Any]:
    return [folder, *(each for each in folder.iterdir() if each.is_dir())]


def types_of(wheel: Wheel, modules: list[str]) -> dict[str, dict[str, Any]]:
    """Model type -> its defaults and attribute map; `text` names the model type of its text_config."""
    by_class: dict[str, dict[str, Any]] = {}
    for module, definition in config_classes(wheel, modules):
        by_class[definition.name] = described(wheel, module, definition)
    types: dict[str, dict[str, Any]] = {}
    for one in by_class.values():
        if not (model_type := one.get("model_type")):
            continue
        text = by_class.get(one.get("text_class", ""), {}).get("model_type")
        kept = {"defaults": one["defaults"], "map": one["map"], "text": text}
        types[model_type] = {key: value for key, value in kept.items() if value}
    return types


def vllm_types(wheel: Wheel, modules: list[str]) -> dict[str, dict[str, Any]]:
    """The classes of vLLM's own `_CONFIG_REGISTRY`, under the model types it registers them for."""
    by_class = {
        definition.name: described(wheel, module, definition)
        for module, definition in config_classes(wheel, modules)
    }
    at = wheel.find("vllm.transformers_utils.config", "_CONFIG_REGISTRY")
    types: dict[str, dict[str, Any]] = {}
    for call in ast.walk(at[1]) if at else ():
        for word in call.keywords if isinstance(call, ast.Call) else ():
            one = by_class.get(str(getattr(word.value, "value", "")))
            if word.arg and one:
                kept = {"defaults": one["defaults"], "map": one["map"]}
                types[word.arg] = {key: value for key, value in kept.items() if value}
    return types


def architectures(wheel: Wheel) -> list[str]:
    """Model classes of transformers that vLLM's Transformers backend may run: causal LMs and multimodal ones."""
    tree = wheel.tree(AUTO)
    names: set[str] = set()
    for statement in tree.body if tree else ():
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id in (
            "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
            "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
            "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        ):
            names |= {
                str(node.value)
                for node in ast.walk(statement)
                if isinstance(node, ast.Constant) and str(node.value)[:1].isupper()
            }
    return sorted(names)


def read(transformers: Path, vllm: Path) -> dict[str, Any]:
    """The document of config_defaults.json."""
    roots = [zipfile.Path(each) if each.is_file() else each for each in (transformers, vllm)]
    wheels = [Wheel(root) for root in roots]
    modules = modules_of(roots[0], "transformers.models", "configuration_")
    types = types_of(wheels[0], modules)
    own = modules_of(roots[1], "vllm.transformers_utils.configs", "")
    for name, one in vllm_types(wheels[1], own).items():
        types[name] = one
    return {
        "source": f"{transformers.name}: transformers.models.*.configuration_*, {AUTO}; "
        f"{vllm.name}: vllm.transformers_utils.configs",
        "types": dict(sorted(types.items())),
        "architectures": architectures(wheels[0]),
    }


def written(document: dict[str, Any]) -> str:
    """JSON with one model type a line."""
    types = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in document["types"].items())
    return (
        "{\n"
        f' "source": {json.dumps(document["source"])},\n "types": {{\n{types}\n }},\n'
        f' "architectures": {json.dumps(document["architectures"])}\n}}\n'
    )


if __name__ == "__main__":
    sys.stdout.write(written(read(Path(sys.argv[1]), Path(sys.argv[2]))))
