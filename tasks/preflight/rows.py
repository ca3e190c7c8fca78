"""What a check of the preflight table says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Status = Literal["ok", "fail", "warn"]


class Row(NamedTuple):
    """One row: status, detail, and what a person does about it."""

    status: Status
    detail: str
    next_command: str = ""


@dataclass(frozen=True)
class Verdict:
    """One thing found. `fatal` False: vLLM starts, and something is not as one may think."""

    what: str
    remedy: str
    fatal: bool = True


def row_of(verdicts: Sequence[Verdict | None], fine: str) -> Row:
    """The verdicts as one row: the fatal ones where there are any; `fine` where there is none."""
    found = [verdict for verdict in verdicts if verdict]
    fatal = [verdict for verdict in found if verdict.fatal]
    if chosen := fatal or found:
        return Row("fail" if fatal else "warn", "; ".join(v.what for v in chosen), chosen[0].remedy)
    return Row("ok", fine)
