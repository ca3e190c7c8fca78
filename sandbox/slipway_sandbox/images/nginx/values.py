"""Sizes, times, and text with variables, as nginx writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from slipway_sandbox.images.nginx.grammar import Directive

Lookup = Callable[[str], str]
SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def size(directive: Directive, text: str) -> int:
    """`10m` in bytes. Raises Emergency."""
    match = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    if match is None:
        raise directive.refuse(f'"{directive.name}" directive invalid value')
    return int(match[1]) * SIZES[match[2]]


def seconds(directive: Directive, text: str) -> float:
    """`1m30s` in seconds. Raises Emergency."""
    parts = re.findall(r"(\d+)(ms|[smhdw]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise directive.refuse(f'"{directive.name}" directive invalid value')
    return sum(int(number) * SECONDS[unit] for number, unit in parts)


def flag(directive: Directive) -> bool:
    """`on` or `off`. Raises Emergency."""
    value = directive.args[0].lower()
    if value not in ("on", "off"):
        raise directive.refuse(
            f'invalid value "{directive.args[0]}" in "{directive.name}" directive, it must be "on" or "off"'
        )
    return value == "on"


class Template:
    """`Bearer $key`: constant text and variables, compiled once. `names` are the variables it needs."""

    def __init__(self, source: str) -> None:
        self.source = source
        pieces: list[tuple[bool, str]] = []
        end = 0
        for match in _VARIABLE.finditer(source):
            pieces += [(False, source[end : match.start()]), (True, match[1] or match[2])]
            end = match.end()
        pieces.append((False, source[end:]))
        self._pieces = tuple((variable, text) for variable, text in pieces if text)
        self.names = frozenset(text for variable, text in self._pieces if variable)

    def render(self, lookup: Lookup) -> str:
        if not self.names:
            return self.source
        return "".join(lookup(text) if variable else text for variable, text in self._pieces)
