"""Parse vLLM's command line with argparse: all flags of 0.32.0, from `flags-0.32.0.json`.

Source of the table: `EngineArgs`, `FrontendArgs` and `make_arg_parser` of the vllm 0.32.0 wheel. A flag that has no
effect here is still accepted, because vLLM accepts it; one vLLM does not have (`--swap-space`, gone since V1) is refused.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slipway_sandbox.images.vllm import VERSION

COMMANDS: Final = ("chat", "complete", "serve", "launch", "bench", "collect-env", "run-batch")
DEFAULT_MODEL: Final = "Qwen/Qwen3-0.6B"
DECIMAL: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "--dtype": ("auto", "bfloat16", "float", "float16", "float32", "half"),
    "--uvicorn-log-level": ("critical", "debug", "error", "info", "trace", "warning"),
    "--scheduling-policy": ("fcfs", "priority"),
}
DEFAULTS: Final[Mapping[str, Any]] = {
    "dtype": "auto",
    "gpu_memory_utilization": 0.92,
    "kv_cache_dtype": "auto",
    "load_format": "auto",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "max_num_seqs": 256,  # a GPU with less than 70 GiB serving over HTTP; so is the next
    "max_num_batched_tokens": 2048,
    "block_size": 16,
    "enable_prefix_caching": True,
    "enforce_eager": False,
    "shutdown_timeout": 0,
    "port": 8000,
    "seed": 0,
    "uvicorn_log_level": "info",
    "disable_uvicorn_access_log": False,
    "enable_request_id_headers": False,
    "enable_server_load_tracking": False,
    "enable_force_include_usage": False,
    "disable_log_stats": False,
    "disable_custom_all_reduce": False,
    "trust_remote_code": False,
}


def human_readable_int(text: str) -> int:
    """`32k` is 32,000, `32K` is 32,768, `25.6k` is 25,600. Raises argparse.ArgumentTypeError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT])", text)
    if match is None:
        return int(text)
    number, suffix = match.groups()
    if suffix in DECIMAL:
        return int(float(number) * DECIMAL[suffix])
    if "." in number:
        raise argparse.ArgumentTypeError(
            "Decimals are not allowed with binary suffixes like "
            f"{suffix}. Did you mean to use {number}{suffix.lower()} instead?"
        )
    return int(number) * BINARY[suffix]


def human_readable_int_or_auto(text: str) -> int:
    return -1 if text in ("-1", "auto") else human_readable_int(text)


KINDS: Final[Mapping[str, Callable[[str], Any]]] = {
    "integer": int,
    "number": float,
    "size": human_readable_int,
    "json": json.loads,
    "text": str,
    "list": str,
}


def flag_table(version: str = VERSION) -> dict[str, list[str]]:
    """kind -> flags (`--long/-short`). Raises FileNotFoundError for a version without a table."""
    table: dict[str, list[str]] = json.loads(
        Path(__file__).with_name(f"flags-{version}.json").read_text("utf-8")
    )
    return table


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vllm", description="vLLM CLI")
    parser.add_argument("-v", "--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="subparser", metavar="{" + ",".join(COMMANDS) + "}")
    serve = commands.add_parser("serve", usage="vllm serve [model_tag] [options]")
    serve.add_argument("model_tag", type=str, nargs="?")
    for kind, flags in flag_table().items():
        for flag in flags:
            _add(serve, kind, flag.split("/"))
    serve.set_defaults(**DEFAULTS)
    return parser


def _add(parser: argparse.ArgumentParser, kind: str, names: list[str]) -> None:
    if kind == "boolean":
        parser.add_argument(*names, action=argparse.BooleanOptionalAction)
        return
    parse = human_readable_int_or_auto if names[0] == "--max-model-len" else KINDS[kind]
    parser.add_argument(
        *names,
        type=parse,
        nargs="+" if kind == "list" else None,
        choices=CHOICES.get(names[0]),
    )


def normalise(argv: Sequence[str]) -> list[str]:
    """`--max_model_len` is `--max-model-len`, and `--a-config.key.sub V` is `--a-config '{"key": {"sub": V}}'`."""
    out: list[str] = []
    nested: dict[str, dict[str, Any]] = {}
    words = iter(argv)
    for word in words:
        if not word.startswith("--"):
            out.append(word)
            continue
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if "." not in name else name
        if "." not in name:
            out.append(name + equals + value)
            continue
        flag, *keys = name.split(".")
        leaf = nested.setdefault(flag.replace("_", "-"), {})
        for key in keys[:-1]:
            leaf = leaf.setdefault(key, {})
        raw = value if equals else next(words, "true")
        try:
            leaf[keys[-1]] = json.loads(raw)
        except json.JSONDecodeError:
            leaf[keys[-1]] = raw
    for flag, document in nested.items():
        out += [flag, json.dumps(document)]
    return out


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse `vllm serve …`; a usage error goes to stderr and exits with 2, as argparse does in vLLM.

    The result has `model`, `served_model_name` (a list) and `non_default` (what was given, for the log). Raises
    ValueError where vLLM does: a served name before any model.
    """
    words = normalise(argv)
    parser = make_parser()
    args = parser.parse_args(words)
    if args.subparser is None:
        parser.print_help()
        raise SystemExit(1)
    default = parser.parse_args(["serve"])
    args.non_default = {
        name: value
        for name, value in sorted(vars(args).items())
        if name != "subparser" and value != getattr(default, name, None)
    }
    if args.served_model_name and not args.model and words[1].startswith("-") and not args.config:
        raise ValueError(
            "`model` should be provided as the first positional argument when "
            "using `vllm serve`. i.e. `vllm serve <model> --<arg> <value>`."
        )
    args.model = args.model_tag or args.model or DEFAULT_MODEL
    args.served_model_name = args.served_model_name or [args.model]
    if args.enable_auto_tool_choice and not args.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
    return args
