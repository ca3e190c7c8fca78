"""nginx's configuration grammar: words, quotes, comments, blocks, includes. Errors in nginx's own words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_INCLUDE_DEPTH: Final = 16
PREFIX: Final = "/etc/nginx/"  # what relative paths are relative to in the image
ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", '"': '"', "'": "'", "\\": "\\"}


class Emergency(Exception):
    """What ends nginx at its start, or refuses a reload: the text after `nginx: [emerg] `."""


@dataclass(frozen=True, slots=True)
class Directive:
    """`name args…;` or, with `block`, `name args… { … }`."""

    name: str
    args: tuple[str, ...]
    block: tuple[Directive, ...] | None
    file: str
    line: int

    @property
    def where(self) -> str:
        return f"in {self.file}:{self.line}"

    def refuse(self, text: str) -> Emergency:
        return Emergency(f"{text} {self.where}")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    quoted: bool


def covered(path: str, mounts: Mapping[str, str]) -> bool:
    """Whether a mount holds this path of the pod."""
    return any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in mounts)


class Places:
    """Where included files really are: a pod has no root of its own, so paths inside files lead through its mounts."""

    def __init__(self, folder: Path, mounts: Mapping[str, str]) -> None:
        self._folder = folder
        self._mounts = sorted(mounts.items(), key=lambda mount: -len(mount[0]))

    def find(self, pattern: str) -> Path:
        """An absolute pattern by the mounts; a relative one below nginx's prefix, or beside the configuration."""
        named = pattern if pattern.startswith("/") else PREFIX + pattern
        for path, real in self._mounts:
            if named == path or named.startswith(path.rstrip("/") + "/"):
                return Path(real + named[len(path.rstrip("/")) :])
        return self._folder / pattern  # an absolute pattern replaces the folder


def read(path: Path, mounts: Mapping[str, str]) -> tuple[Directive, ...]:
    """A whole configuration with its includes; `mounts` maps paths in the pod to real ones. Raises Emergency."""
    return _read(path, Places(path.parent, mounts), f"{path}", 0)


def _read(
    path: Path, places: Places, shown: str, depth: int, at: Directive | None = None
) -> tuple[Directive, ...]:
    if depth > MAX_INCLUDE_DEPTH:
        raise Emergency(f"too many nested includes of {shown}")
    try:
        source = path.read_text("utf-8")
    except OSError as error:
        where = f" {at.where}" if at else ""
        raise Emergency(
            f'open() "{shown}" failed ({error.errno}: {os.strerror(error.errno or 0)}){where}'
        ) from error
    tokens = list(_tokens(source, shown))
    directives, end = _directives(tokens, 0, shown, nested=False)
    assert end == len(tokens)
    return tuple(_expand(directives, places, depth))


def _expand(directives: list[Directive], places: Places, depth: int) -> Iterator[Directive]:
    for directive in directives:
        if directive.name == "include":
            if len(directive.args) != 1:
                raise directive.refuse('invalid number of arguments in "include" directive')
            yield from _include(directive, places, depth)
        elif directive.block is not None:
            block = tuple(_expand(list(directive.block), places, depth))
            yield Directive(directive.name, directive.args, block, directive.file, directive.line)
        else:
            yield directive


def _include(directive: Directive, places: Places, depth: int) -> Iterator[Directive]:
    pattern = directive.args[0]
    path = places.find(pattern)
    if any(letter in pattern for letter in "*?["):
        for match in sorted(path.parent.glob(path.name)):
            yield from _read(match, places, str(match), depth + 1, directive)
    elif path.name == "mime.types" and not path.exists():
        return  # the image has it, and nothing here depends on what it says
    else:
        yield from _read(path, places, str(path), depth + 1, directive)


def _directives(tokens: list[_Token], at: int, file: str, *, nested: bool) -> tuple[list[Directive], int]:
    found: list[Directive] = []
    while at < len(tokens):
        words: list[_Token] = []
        while at < len(tokens) and (tokens[at].quoted or tokens[at].text not in (";", "{", "}")):
            words.append(tokens[at])
            at += 1
        if at == len(tokens):
            raise Emergency(f'unexpected end of file, expecting ";" or "}}" in {file}:{words[-1].line}')
        stop = tokens[at]
        at += 1
        if stop.text == "}":
            if words:
                raise Emergency(f'unexpected "}}" in {file}:{stop.line}')
            if not nested:
                raise Emergency(f'unexpected "}}" in {file}:{stop.line}')
            return found, at
        if not words:
            raise Emergency(f'unexpected "{stop.text}" in {file}:{stop.line}')
        name, args = words[0].text, tuple(word.text for word in words[1:])
        block: tuple[Directive, ...] | None = None
        if stop.text == "{":
            inner, at = _directives(tokens, at, file, nested=True)
            block = tuple(inner)
        found.append(Directive(name, args, block, file, stop.line if block is None else words[0].line))
    if nested:
        line = tokens[-1].line if tokens else 1
        raise Emergency(f'unexpected end of file, expecting "}}" in {file}:{line}')
    return found, at


def _tokens(source: str, file: str) -> Iterator[_Token]:
    at, line, end = 0, 1, len(source)
    while at < end:
        letter = source[at]
        if letter == "\n":
            line += 1
            at += 1
        elif letter.isspace():
            at += 1
        elif letter == "#":
            at = source.find("\n", at) if "\n" in source[at:] else end
        elif letter in ";{}":
            yield _Token(letter, line, quoted=False)
            at += 1
        elif letter in "\"'":
            text, after = _quoted(source, at, file, line)
            yield _Token(text, line, quoted=True)
            line += source.count("\n", at, after)
            at = after
        else:
            text, at = _word(source, at)
            yield _Token(text, line, quoted=False)


def _quoted(source: str, at: int, file: str, line: int) -> tuple[str, int]:
    quote, out, here = source[at], [], at + 1
    while here < len(source) and source[here] != quote:
        if source[here] == "\\" and here + 1 < len(source):
            follower = source[here + 1]
            out.append(ESCAPES.get(follower, "\\" + follower))
            here += 2
        else:
            out.append(source[here])
            here += 1
    if here == len(source):
        raise Emergency(f'unexpected end of file, expecting ";" or "}}" in {file}:{line}')
    return "".join(out), here + 1


def _word(source: str, at: int) -> tuple[str, int]:
    out: list[str] = []
    while at < len(source):
        letter = source[at]
        if letter == "$" and source[at + 1 : at + 2] == "{":  # ${name}: the braces are the variable's
            close = source.find("}", at)
            close = len(source) - 1 if close < 0 else close
            out.append(source[at : close + 1])
            at = close + 1
        elif letter == "\\" and at + 1 < len(source):
            follower = source[at + 1]
            out.append(ESCAPES.get(follower, "\\" + follower))
            at += 2
        elif letter.isspace() or letter in ";{":
            break
        else:
            out.append(letter)
            at += 1
    return "".join(out), at
