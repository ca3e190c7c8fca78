"""Mount paths become the folders behind them: there is no chroot, so texts that name a mount path are rewritten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# A path is only itself where it does not continue another word: `s3://bucket/models` or `/data/models` name no `/models`.
_BEFORE = r"(?<![A-Za-z0-9_.~/\-})])"
_AFTER = r"(?=/|[^A-Za-z0-9_.\-]|$)"


def rewriter(mounts: Mapping[str, Path]) -> re.Pattern[str] | None:
    """A pattern of all mount paths, longest first; None without mounts."""
    paths = sorted((path.rstrip("/") for path in mounts if path.rstrip("/")), key=len, reverse=True)
    if not paths:
        return None
    return re.compile(_BEFORE + "(" + "|".join(map(re.escape, paths)) + ")" + _AFTER)


def rewrite(text: str, mounts: Mapping[str, Path]) -> str:
    """`text` with every mount path at a path boundary replaced by its real folder."""
    pattern = rewriter(mounts)
    if pattern is None:
        return text
    real = {path.rstrip("/"): str(folder) for path, folder in mounts.items()}
    return pattern.sub(lambda match: real[match[1]], text)
