"""A terminal's frames, the one that is drawn, and a page's part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.pictures import browser
from tools.pictures.browser import Part, chromium, cropping
from tools.pictures.screen import Screen, busiest, frames, plain, svg

HALF = "stage 2.0 s 12 of 22 MiB (55 %), 3.0 MiB/s, 3 s left"
LATE = "stage 4.0 s 21 of 22 MiB (95 %), 3.0 MiB/s, 300 ms left"


def shown(*pieces: str) -> list[str]:
    return [plain(row) for row in list(frames(pieces))[-1]]


def test_a_live_view_is_drawn_over_and_what_stays_goes_above_it() -> None:
    first = "\x1b[?25l\x1b[36m⠋\x1b[0m stage\r\n  waiting: warm"
    second = "\r\x1b[2K\x1b[1A\x1b[2K\x1b[32m✓ \x1b[0mstage\r\n\x1b[36m⠙\x1b[0m warm"
    assert shown(first) == ["⠋ stage", "  waiting: warm"]
    assert shown(first, second) == ["✓ stage", "⠙ warm"]


def test_a_sequence_may_come_in_two_pieces() -> None:
    assert shown("one\r\n\x1b[3", "2mtwo\x1b[", "0m") == ["one", "two"]


def test_a_sequence_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        Screen().write("\x1b[5;5Hthere")


def test_the_frame_with_most_rows_and_a_step_half_done_is_drawn() -> None:
    few, half, late = [HALF], ["✓ storage", HALF], ["✓ storage", LATE]
    assert busiest([few, late, half, ["a", "b", "c"]]) == half


def test_without_a_step_at_work_there_is_no_frame() -> None:
    with pytest.raises(ValueError, match="no frame"):
        busiest([["✓ stage 12 of 12 (100 %)"]])


def test_a_frame_is_an_svg_that_fetches_nothing() -> None:
    drawn = svg(["\x1b[32m✓ \x1b[0mstage"], "slipway deploy")
    assert re.search(r"<text [^>]*>stage", drawn)
    assert "url(http" not in drawn


def test_a_part_is_moved_into_the_window() -> None:
    page = cropping("whole.png", Part((1000, 700), left=255, top=10, width=500, height=300))
    assert "left:-255px;top:-10px;width:1000px" in page


def test_without_chromium_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        chromium()
    for name in browser.PROGRAMS[1:2]:
        (tmp_path / name).touch(mode=0o755)
        assert chromium() == str(tmp_path / name)
