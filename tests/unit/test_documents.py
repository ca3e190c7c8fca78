"""What README and docs tell a reader to open or to type is there: files, headings, commands with their options."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from flows.cli import main
from tests.support.builders import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "sandbox" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
# where a command ends in a shell's line
END = re.compile(r"&&|\|\||[|;>]|\s·")


class Told(NamedTuple):
    """A command line and the page it is on."""

    page: str
    line: str


def links(page: Path) -> Iterator[str]:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


def anchors(page: Path) -> set[str]:
    """Of every heading, as GitHub makes them."""
    found = re.findall(r"^#+ +(.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def code(page: Path) -> Iterator[str]:
    """Every line in a fence and every span of code."""
    text = page.read_text()
    for block in FENCED.findall(text):
        yield from block.splitlines()[1:-1]
    yield from SPAN.findall(FENCED.sub("", text))


def told(program: str) -> list[Told]:
    """Every command line that begins with `program`, also behind another command or a variable."""
    found = []
    for page in PAGES:
        for line in code(page):
            for part in END.split(re.split(r"(?:^|\s)#", line)[0]):
                words = re.sub(r"^\s*([A-Z_]+=\S+ +)*", "", part).strip()
                if words.startswith(f"{program} "):
                    found.append(Told(str(page.relative_to(ROOT)), words))
    return sorted(set(found))


@cache
def names_of(path: tuple[str, ...]) -> tuple[click.Command, frozenset[str]]:
    """The command at the end of a path and the options it takes. Raises LookupError."""
    command: click.Command = main
    context = click.Context(main, info_name="slipway")
    for word in path:
        assert isinstance(command, click.Group), path
        inner = command.get_command(context, word)
        if inner is None:
            raise LookupError(f"no command slipway {' '.join(path)}")
        command, context = inner, click.Context(inner, info_name=word, parent=context)
    given = [option for parameter in command.get_params(context) for option in parameter.opts]
    if isinstance(command, click.Group):  # `slipway ci … --ref` is of one of its commands
        given += [option for name in command.list_commands(context) for option in names_of((*path, name))[1]]
    return command, frozenset([*given, "--help"])


def wrong(line: str) -> list[str]:
    """What `slipway` would not understand in a line; alternatives as `up|down` and `[…]` are documentation's."""
    words = re.sub(r"[\[\]]", " ", line).split()[1:]
    path: tuple[str, ...] = ()
    command: click.Command = main
    while words and isinstance(command, click.Group) and not words[0].startswith(("-", "…", "NAME")):
        path = (*path, words.pop(0).rstrip("…,.:"))
        try:
            command, _ = names_of(path)
        except LookupError as error:
            return [str(error)]
    _, options = names_of(path)
    given = [word.split("=")[0].rstrip(",.:") for word in words if re.match(r"--?[a-z]", word)]
    return [f"slipway {' '.join(path)} has no {option}" for option in given if option not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("told", told("slipway"), ids=lambda told: told.line)
def test_every_slipway_command_is_one_with_its_options(told: Told) -> None:
    assert wrong(told.line) == [], told.page


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("slipway deploy NAME -e sandbox", []),
        ("slipway deplay NAME", ["no command slipway deplay"]),
        ("slipway sandbox fault sit NAME", ["no command slipway sandbox fault sit"]),
        ("slipway deploy NAME [--revalidated]", ["slipway deploy has no --revalidated"]),
    ],
)
def test_a_command_that_is_not_there_is_found(line: str, what: list[str]) -> None:
    assert wrong(line) == what


@pytest.mark.parametrize("told", told("python -m"), ids=lambda told: told.line)
def test_every_module_to_run_is_there(told: Told) -> None:
    module = told.line.split()[2]
    assert importlib.util.find_spec(module), told.page


@pytest.mark.parametrize("told", [*told("make")], ids=lambda told: told.line)
def test_every_target_to_make_is_in_a_makefile(told: Told) -> None:
    words = [word for word in told.line.split()[1:] if "=" not in word]
    folder = ROOT / words[1] if words[0] == "-C" else ROOT
    targets = words[2:] if words[0] == "-C" else words
    rules = re.findall(r"^([a-z-]+):", (folder / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) <= set(rules), told.page
