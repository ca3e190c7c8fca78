"""What a program drew on a terminal, frame by frame, and a frame as an SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence

from rich.ansi import AnsiDecoder
from rich.console import Console

WIDTH, HEIGHT = 120, 40

# of ECMA-48 what rich's live view writes: moves of the cursor, whole rows erased, colours. A sequence may be cut at the end
CONTROL = re.compile(r"\r|\n|\x1b\[(\d*)A|\x1b\[2K|\x1b\[\?\d+[hl]|\x1b\[[\d;]*m|[^\x1b\r\n]+")
CUT = re.compile(r"\x1b(\[[\d;?]*)?\Z")
COLOURS = re.compile(r"\x1b\[[\d;]*m")
# a row that runs, with its progress and the time that is left
AT_WORK = re.compile(r"\((\d+) %\).* left")

# rich's template fetches a font from a CDN; a picture asks nobody for anything
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Screen:
    """The rows that a program wrote. Only what rich's live view does is done: rows are erased whole."""

    def __init__(self) -> None:
        self.rows = [""]
        self._at = 0
        self._rest = ""

    def write(self, text: str) -> None:
        """Raises ValueError for a control sequence that is not known here."""
        text = self._rest + text
        cut = CUT.search(text)
        whole = cut.start() if cut else len(text)
        self._rest = text[whole:]
        place = 0
        while place < whole:
            found = CONTROL.match(text, place, whole)
            if not found:
                raise ValueError(
                    f"a control sequence this screen does not know: {text[place : place + 12]!r}"
                )
            self._take(found[0], found[1])
            place = found.end()

    def _take(self, written: str, count: str | None) -> None:
        if written == "\n":
            self._at += 1
            if self._at == len(self.rows):
                self.rows.append("")
        elif written.startswith("\x1b") and written.endswith("A"):
            self._at = max(0, self._at - int(count or 1))
        elif written == "\x1b[2K":
            self.rows[self._at] = ""
        elif written != "\r" and not written.startswith("\x1b[?"):
            self.rows[self._at] += written

    def shown(self) -> list[str]:
        """The last rows with their colours, none of them empty at the end."""
        rows = list(self.rows)
        while rows and not plain(rows[-1]).strip():
            rows.pop()
        return rows[-HEIGHT:]


def plain(row: str) -> str:
    return COLOURS.sub("", row)


def frames(pieces: Iterable[str]) -> Iterator[list[str]]:
    """What a terminal shows after each piece that was written to it."""
    screen = Screen()
    for piece in pieces:
        screen.write(piece)
        yield screen.shown()


def busiest(drawn: Sequence[list[str]]) -> list[str]:
    """The frame with the most rows of those in which a step is about half done. Raises ValueError without one."""

    def worth(frame: list[str]) -> tuple[int, int]:
        shares = [int(found[1]) for row in frame if (found := AT_WORK.search(plain(row)))]
        return (len(frame), -min(abs(share - 50) for share in shares)) if shares else (-1, 0)

    best = max(drawn, key=worth, default=[])
    if not best or worth(best)[0] < 0:
        raise ValueError("no frame shows a step with its progress and the time that is left")
    return best


def svg(rows: Sequence[str], title: str) -> str:
    """The rows as rich draws a terminal."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    # an empty row more: the last one's descenders would be cut off
    for line in AnsiDecoder().decode("\n".join([*rows, ""])):
        console.print(line)
    return console.export_svg(title=title, code_format=SVG, unique_id="terminal")
