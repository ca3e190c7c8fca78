"""Check a command line against the flags of one vLLM version. Pure over engine_flags/*.json.

The tables were read from vLLM's own wheels (tools/engine_flags.py). The reading of a command line is argparse's with what
vLLM adds: `_` for `-` in names, `--config.key=value`, `32k` for sizes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES = Path(__file__).with_name("engine_flags")
VALUELESS = ("boolean", "switch")
LOWERED = ("--moe-backend", "--linear-backend")  # vLLM reads their values in any case


@dataclass(frozen=True)
class FlagTable:
    """The flags of one version. `kinds`: every spelling -> its kind; `name`: every spelling -> the flag's long name."""

    version: str
    kinds: Mapping[str, str]
    name: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]]
    ending: Mapping[str, str]
    quantization: Mapping[str, Mapping[str, Any]]

    def resolve(self, spelling: str) -> list[str]:
        """The flags a spelling may mean: itself, or those it abbreviates, as argparse allows."""
        if spelling in self.kinds or not spelling.startswith("--"):
            return [spelling] if spelling in self.kinds else []
        begun = [known for known in self.kinds if known.startswith(spelling)]
        return sorted({self.name[known]: known for known in begun}.values())


@dataclass(frozen=True)
class Finding:
    """A problem of one flag. `fatal`: vLLM would not start."""

    flag: str
    what: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.flag} {self.what}"


def versions() -> list[str]:
    """The versions with a table, oldest first."""
    return sorted((file.stem for file in TABLES.glob("*.json")), key=_order)


def _order(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@cache
def flags_of(version: str) -> FlagTable | None:
    """The table of exactly that version, or None."""
    file = TABLES / f"{version}.json"
    if not file.is_file():
        return None
    document = json.loads(file.read_text("utf-8"))
    kinds: dict[str, str] = {}
    name: dict[str, str] = {}
    lists = {kind: found for kind, found in document.items() if isinstance(found, list)}
    for kind, flags in [*lists.items(), ("choice", list(document["choice"]))]:
        for flag in flags:
            spellings = flag.split("/")
            if kind == "boolean":
                spellings += [s.replace("--", "--no-", 1) for s in spellings if s.startswith("--")]
            for spelling in spellings:
                kinds[spelling], name[spelling] = kind, spellings[0]
    choices = {flag.split("/")[0]: tuple(values) for flag, values in document["choice"].items()}
    return FlagTable(version, kinds, name, choices, document["ending"], document["quantization"])


@dataclass(frozen=True)
class Given:
    """One flag of a command line, with `-` for `_` in its name; `values` are what argparse would take."""

    flag: str
    values: tuple[str, ...]
    joined: bool = False  # --flag=value


def given(arguments: Sequence[str], table: FlagTable) -> Iterator[Given | str]:
    """Iterate over the flags of a command line; a word that belongs to none comes as plain text."""
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not _is_flag(word):
            yield word
            continue
        name, equals, value = word.partition("=")
        name = name if "." in name else name.replace("_", "-")
        if equals:
            yield Given(name, (value,), joined=True)
            continue
        known = table.resolve(name.partition(".")[0])
        kind = (
            table.kinds[known[0]] if known else "list"
        )  # of an unknown one, what stands behind it is its own
        most = {"boolean": 0, "switch": 0, "list": len(words)}.get(kind, 1)
        values: list[str] = []
        while words and len(values) < most and not _is_flag(words[0]):
            values.append(words.pop(0))
        yield Given(name, tuple(values))


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word)


def lint(arguments: Sequence[str], table: FlagTable, own: frozenset[str] = frozenset()) -> list[Finding]:
    """Problems vLLM of that version would have with the arguments of `vllm serve`; the first argument is the model.

    `own`: flags Slipway gives itself, which may not be given again.
    """
    found: list[Finding] = []
    for position, one in enumerate(given(arguments, table)):
        if isinstance(one, str):
            if position:
                found.append(Finding(repr(one), "belongs to no flag"))
            continue
        found += _judged(one, table)
    counted = [
        table.name.get(one.flag, one.flag) for one in given(arguments, table) if isinstance(one, Given)
    ]
    twice = sorted(name for name in own if counted.count(name) > 1)
    return [*found, *(Finding(name, "is given twice: engine in the model's file says it") for name in twice)]


def _judged(one: Given, table: FlagTable) -> list[Finding]:
    if one.flag.startswith("-O"):  # the optimisation level, -O3: a config's key, not a flag of argparse
        return []
    if " " in one.flag:
        flag, _, value = one.flag.partition(" ")
        return [Finding(flag, f"and its value are one word: write {flag}={value.strip()}")]
    base, dotted, _ = one.flag.partition(".")
    known = table.resolve(base)
    if not known:
        return [Finding(one.flag, unknown(base, table))]
    if len(known) > 1:
        return [
            Finding(one.flag, f"may be {', '.join(known[:4])}" + (" or others" if len(known) > 4 else ""))
        ]
    name, kind = table.name[known[0]], table.kinds[known[0]]
    found = [Finding(one.flag, f"will go: {table.ending[name]}", fatal=False)] if name in table.ending else []
    if dotted:
        return (
            found
            if kind in ("json", "text")
            else [*found, Finding(one.flag, f"has a key, and {name} takes none")]
        )
    wrong = wrong_values(one, kind, table.choices.get(name, ()), may_be_auto=name == "--max-model-len")
    return [*found, Finding(one.flag, wrong)] if wrong else found


def wrong_values(one: Given, kind: str, choices: Sequence[str], *, may_be_auto: bool = False) -> str:
    """What is wrong with the values of a flag; "" where nothing is."""
    if kind in VALUELESS:
        other = (
            f" or {one.flag.replace('--', '--no-', 1)}"
            if kind == "boolean" and not one.flag.startswith("--no-")
            else ""
        )
        return f"takes no value: say {one.flag}{other}" if one.joined else ""
    if not one.values:
        return "" if kind == "optional" else "needs a value"
    value = one.values[0]
    if value in ("", "None"):  # vLLM reads both as None
        return ""
    if one.flag in LOWERED:
        value = value.lower()
    if kind == "choice" and value not in choices:
        return f"may be {', '.join(choices)}, not {value!r}" + _nearest(value, choices)
    if kind == "integer" and not re.fullmatch(r"[+-]?\d+(_\d+)*", value):
        return f"takes a whole number, not {value!r}"
    sized = re.fullmatch(r"-?\d+(_\d+)*|\d+(\.\d+)?[kmgt]|\d+[KMGT]", value) or (
        may_be_auto and value == "auto"
    )
    if kind == "size" and not sized:
        return f"takes a number of tokens or bytes like 32768, 32k or 32K, not {value!r}"
    if kind == "number" and not _is_number(value):
        return f"takes a number, not {value!r}"
    if kind == "json" and not _is_json(value):
        return f"takes JSON, not {value!r}"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(re.sub(r"\b\d+(\.\d+)?[kKmMgGtT]\b", "0", text))  # vLLM reads 80m for 80000000 there
    except ValueError:
        return False
    return True


def _nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, 1, 0.6)
    return f": did you mean {near[0]}?" if near else ""


def unknown(flag: str, table: FlagTable) -> str:
    """Describe an unknown flag: which versions have it, and the nearest flag this version has."""
    said = f"is not known to vLLM {table.version}"
    having = [version for version in versions() if (other := flags_of(version)) and flag in other.kinds]
    before = [version for version in having if _order(version) < _order(table.version)]
    after = [version for version in having if _order(version) > _order(table.version)]
    if before:
        said += f": {before[-1]} is the last that is known to have it"
        last = flags_of(before[-1])
        if last and (note := last.ending.get(last.name[flag])) and note != "deprecated":
            said += f", and says of it: {note}"
    elif after:
        said += f": it came later, {after[0]} is the first that is known to have it"
    # --disable-x became --enable-x more often than it became anything else
    turned = flag.replace("--disable-", "--enable-", 1)
    near = turned if turned in table.kinds else None
    near = near or next(iter(difflib.get_close_matches(flag, list(table.kinds), 1, 0.75)), None)
    return said + (f"; the nearest it has is {near}" if near else "")
