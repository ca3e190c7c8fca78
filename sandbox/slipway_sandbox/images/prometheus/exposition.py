"""Parse the text format of a metrics page. https://prometheus.io/docs/instrumenting/exposition_formats/"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:\\.|[^"\\])*)"\s*(,)?')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Malformed(ValueError):
    """A line is not in the text format; the whole scrape fails, as in Prometheus."""


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield (name, labels, value) of every sample; timestamps and comments are ignored. Raises Malformed."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name = _NAME.match(stripped)
        if name is None:
            raise Malformed(f"line {number}: no metric name in {stripped[:80]!r}")
        labels: dict[str, str] = {}
        position = name.end()
        if stripped[position : position + 1] == "{":
            labels, position = _labels(stripped, position + 1, number)
        fields = stripped[position:].split()
        if not 1 <= len(fields) <= 2:
            raise Malformed(f"line {number}: expected a value in {stripped[:80]!r}")
        try:
            value = float(fields[0])
        except ValueError:
            raise Malformed(f"line {number}: {fields[0]!r} is not a number") from None
        yield name.group(), labels, value


def _labels(line: str, position: int, number: int) -> tuple[dict[str, str], int]:
    labels: dict[str, str] = {}
    while True:
        match = _LABEL.match(line, position)
        if match is None:
            break
        labels[match[1]] = re.sub(r'\\[\\"n]', lambda m: _ESCAPES[m.group()], match[2])
        position = match.end()
        if not match[3]:
            break
    closing = re.compile(r"\s*\}").match(line, position)
    if closing is None:
        raise Malformed(f"line {number}: labels do not end in {line[:80]!r}")
    return labels, closing.end()
