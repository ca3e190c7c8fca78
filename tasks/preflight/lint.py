"""Values of flags that argparse takes and vLLM refuses after it: keys of JSON flags, names of parsers and formats. Pure.

Sources in vLLM 0.32.0: configuration classes take no keys they do not have (vllm/config/*.py); `_TOOL_PARSERS_TO_REGISTER`,
`_REASONING_PARSERS_TO_REGISTER`, `_LOAD_FORMAT_TO_MODEL_LOADER`; `validate_parsed_serve_args` in
vllm/entrypoints/openai/cli_args.py for --enable-auto-tool-choice.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from tasks.preflight.arguments import CommandLine
from tasks.preflight.engine_models import EngineModels
from tasks.preflight.flags import Finding, FlagTable, Given, given


def judge_values(arguments: Sequence[str], table: FlagTable, models: EngineModels | None) -> list[Finding]:
    """What vLLM of that version would refuse after it has read the flags."""
    if models is None:
        return []
    line = CommandLine(tuple(arguments))
    found = [
        *_named(line, "--tool-call-parser", models.tool_parsers, "tool parser"),
        *_named(line, "--reasoning-parser", models.reasoning_parsers, "reasoning parser"),
        *_named(line, "--load-format", models.load_formats, "load format"),
        *_keys(arguments, line, table, models),
    ]
    if line.switch("--enable-auto-tool-choice") and not line.text("--tool-call-parser"):
        found.append(Finding("--enable-auto-tool-choice", "needs --tool-call-parser beside it"))
    if line.text("--model"):
        found.append(Finding("--model", "is given beside the model's path: leave it out"))
    return found


def judge_draft(arguments: Sequence[str], files: Collection[str]) -> list[Finding]:
    """The draft model of --speculative-config: only a folder of the model's own repo is staged, and pods run offline.

    `files`: paths of the repo. Methods that need no draft: `SpeculativeConfig.__post_init__` in vllm/config/speculative.py.
    """
    flag = "--speculative-config"
    said = CommandLine(tuple(arguments)).document(flag, "-sc")
    draft, method = str(said.get("model") or ""), str(said.get("method") or "")
    if not said or draft.strip("[]") in ("ngram", "ngram_gpu"):
        method, draft = draft.strip("[]"), ""
    if method in ("ngram", "ngram_gpu") and not said.get("num_speculative_tokens"):
        return [Finding(flag, f"has no num_speculative_tokens, which {method} needs")]
    if not draft:
        return []
    folder = draft.removeprefix(arguments[0]).strip("/") if draft.startswith(f"{arguments[0]}/") else None
    if folder is None:
        return [
            Finding(
                flag,
                f"names the draft model {draft}, which is not staged, and pods run offline: put it into a folder of the model's "
                f"repo and name {arguments[0]}/FOLDER, or take a method without one (ngram; mtp where the model has it)",
            )
        ]
    if files and f"{folder}/config.json" not in files:
        return [Finding(flag, f"names the draft model {draft}, and the repo has no {folder}/config.json")]
    return []


def judge_variables(env: Mapping[str, str], models: EngineModels | None) -> list[Finding]:
    """VLLM_ variables this version does not read: it starts, warns in its log and ignores them (`validate_environ`)."""
    if models is None or not models.environment:
        return []
    found = []
    for name in sorted(env):
        if name.startswith("VLLM_") and name not in models.environment:
            near = difflib.get_close_matches(name, models.environment, 1, 0.7)
            meant = f": did you mean {near[0]}?" if near else ""
            found.append(Finding(name, f"is not read by vLLM {models.version}{meant}", fatal=False))
    return found


def _named(line: CommandLine, flag: str, names: Collection[str], what: str) -> list[Finding]:
    value = line.text(flag)
    if not value or not names or value in names:
        return []
    if line.text("--tool-parser-plugin") or line.text("--reasoning-parser-plugin"):
        return []  # the plugin may bring it
    near = difflib.get_close_matches(value, names, 1, 0.5)
    meant = f": did you mean {near[0]}?" if near else f": it has {', '.join(sorted(names)[:8])}, …"
    return [Finding(flag, f"names the {what} {value!r}, which this version does not have{meant}")]


def _keys(
    arguments: Sequence[str], line: CommandLine, table: FlagTable, models: EngineModels
) -> list[Finding]:
    """Keys a JSON flag's configuration class does not have."""
    found = []
    flags = dict.fromkeys(
        one.flag.partition(".")[0] for one in given(arguments, table) if isinstance(one, Given)
    )
    for flag in flags:
        name = table.name.get(flag, flag)
        keys = models.keys.get(name)
        if keys is None:
            continue
        spellings = tuple({flag, name})
        for key in line.document(*spellings):
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1, 0.6)
                meant = f"; the nearest it has is {near[0]}" if near else ""
                found.append(Finding(flag, f"has no key {key!r} in vLLM {models.version}{meant}"))
    return found
