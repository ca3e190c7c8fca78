"""Headless Chromium: a page, or a part of it, as a PNG."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WORDS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)
PATIENCE = 180.0


@dataclass(frozen=True)
class Part:
    """Of a page that is `window` large the part at `left` and `top`, all in CSS pixels; with `scale` pixels for each."""

    window: tuple[int, int]
    left: int = 0
    top: int = 0
    width: int = 0
    height: int = 0
    scale: float = 1.0


def chromium() -> str:
    """The browser's path. Raises FileNotFoundError, which says what to install."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(f"none of {', '.join(PROGRAMS)} is on PATH: apt-get install chromium")


def picture(program: str, address: str, part: Part, file: Path, wait_ms: int = 1000) -> None:
    """Write a part of a page as it is after `wait_ms` of its own time. Raises CalledProcessError, FileNotFoundError."""
    with tempfile.TemporaryDirectory(prefix="slipway-pictures-") as scratch:
        whole, frame = Path(scratch) / "whole.png", Path(scratch) / "frame.html"
        _shoot(program, address, part.window, part.scale, whole, wait_ms)
        frame.write_text(cropping(whole.name, part))
        _shoot(program, frame.as_uri(), (part.width, part.height), part.scale, file.resolve(), 1000)


def cropping(image: str, part: Part) -> str:
    """A page that shows a part of an image and nothing else."""
    style = f"position:absolute;left:{-part.left}px;top:{-part.top}px;width:{part.window[0]}px"
    return (
        f'<!doctype html><body style="margin:0;overflow:hidden"><img src="{escape(image)}" style="{style}">'
    )


def _shoot(
    program: str, address: str, window: tuple[int, int], scale: float, file: Path, wait_ms: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-chromium-") as profile:
        own = [
            f"--user-data-dir={profile}",
            f"--window-size={window[0]},{window[1]}",
            f"--force-device-scale-factor={scale}",
            f"--virtual-time-budget={wait_ms}",
            f"--screenshot={file}",
        ]
        subprocess.run([program, *WORDS, *own, address], check=True, capture_output=True, timeout=PATIENCE)
    if not file.exists():
        raise FileNotFoundError(f"{program} wrote no picture of {address}")
