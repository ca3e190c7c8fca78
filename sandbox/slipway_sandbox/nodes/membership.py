"""How many instances a node group lacks, and which are to go: the sums of its Auto Scaling and of a version update."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slipway_sandbox.nodes.machine import Machine


@dataclass
class Member:
    """An instance on its way in, there, or on its way out. `machine` is None until it has booted.

    `generation` is what it was launched from; empty for one that was there before, which counts as up to date.
    """

    group: str
    order: int
    subnet: str = ""
    machine: Machine | None = None
    leaving: bool = False
    work: asyncio.Task[None] | None = field(default=None, repr=False)
    generation: str = ""


@dataclass(frozen=True)
class Wanted:
    """A group's size and what its instances are to be launched from."""

    size: int
    generation: str = ""


@dataclass(frozen=True)
class Change:
    """What a look at the groups asks for."""

    launch: Counter[str]
    leave: list[Member]


def decide(wanted: Mapping[str, Wanted], members: Iterable[Member]) -> Change:
    """Instances to launch by group, and which to let go: those not booted yet first, then outdated ones, then the oldest.

    While any is outdated the group has one more than its size, and an old one goes for each new one that has booted.
    """
    present: dict[str, list[Member]] = {}
    for member in members:
        if not member.leaving:
            present.setdefault(member.group, []).append(member)
    launch: Counter[str] = Counter()
    leave: list[Member] = []
    for group in {*wanted, *present}:
        goal = wanted.get(group, Wanted(0))
        have = sorted(present.get(group, []), key=lambda m: _turn(m, goal))
        outdated = [m for m in have if _is_outdated(m, goal)] if goal.size else []
        surplus = len(have) - goal.size - bool(outdated)
        if surplus < 0:
            launch[group] = -surplus
        leave += have[: max(surplus, 0)]
        spare = sum(m.machine is not None for m in have) - goal.size
        replaced = [m for m in outdated if m not in leave]
        leave += replaced[: max(spare - max(surplus, 0), 0)]
    return Change(launch, leave)


def _turn(member: Member, goal: Wanted) -> tuple[bool, bool, int]:
    return member.machine is not None, not _is_outdated(member, goal), member.order


def _is_outdated(member: Member, goal: Wanted) -> bool:
    return member.generation not in ("", goal.generation)
