"""Tell the cause of a failure of vLLM in plain words, with a next command that helps; by kind, else by its own words. Pure."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.rollout import failed_loads, refused_settings
from tasks.rollout.engine_family import Family
from tasks.rollout.engine_log import Failure
from tasks.rollout.engine_messages import Message

MOST_OF_A_MESSAGE = 300

FAMILIES: tuple[Family, ...] = (
    *refused_settings.COMMAND_LINE,
    *refused_settings.DRAFT,
    *refused_settings.LENGTHS,
    *failed_loads.MEMORY,
    *refused_settings.PARALLEL,
    *refused_settings.KINDS,
    *failed_loads.FILES,
    *failed_loads.HUB,
    *refused_settings.CONFIG,
    *failed_loads.GPUS,
    *failed_loads.WEIGHTS,
)


@dataclass(frozen=True)
class Cause:
    """Why vLLM ended. `kind` is empty for what no family knows; `passes`: the same start may succeed later."""

    kind: str
    text: str
    next_command: str
    passes: bool = False


def tell(failure: Failure) -> Cause:
    """The first family that knows the failure; else what vLLM itself says, with its exception."""
    cause = _cause(failure)
    if not failure.alone:
        return cause
    return replace(cause, text=f"{cause.text} (in rank {failure.process} alone)")


def _cause(failure: Failure) -> Cause:
    told = _candidates(failure)
    for families in (FAMILIES, refused_settings.REFUSED):
        for message in told:
            if found := _family(families, failure, message):
                return found
    if failure.signal:
        return _by_signal(failure)
    return Cause("", f"{_begin(failure)}: {_short(failure.line)}{_from(failure)}", "", passes=True)


def _candidates(failure: Failure) -> Sequence[Message]:
    """What it was raised from says more than what was raised from it; what was being handled says less."""
    final = Message(failure.exception, failure.message)
    direct = failure.chain[:1] if failure.direct else ()
    return (*direct, final, *failure.chain[len(direct) :])


def _family(families: Iterable[Family], failure: Failure, message: Message) -> Cause | None:
    said = str(message)
    for family in families:
        if found := family.knows(said, failure.frames):
            groups = defaultdict(lambda: "see its message", {k: v for k, v in found.groupdict().items() if v})
            text = family.cause.format_map(groups)
            prefix = "after it had come up, " if failure.served else ""
            return Cause(
                family.name, prefix + _short(text), family.next_command.format_map(groups), family.passes
            )
    return None


def _by_signal(failure: Failure) -> Cause:
    known = {
        signal.SIGKILL: ("it ran out of memory, as a rule", "raise resources.memory in the model's file"),
        signal.SIGBUS: (
            "shared memory or a file it maps is too small or cannot be read",
            "raise resources.memory in the model's file: a replica of several GPUs has half of it as /dev/shm, 16 GiB at most",
        ),
        signal.SIGILL: (
            "the processor lacks an instruction the image was built for",
            "another instance type or engine.image",
        ),
        signal.SIGTERM: ("something told it to end", ""),
    }
    why, command = known.get(
        signal.Signals(failure.signal) if failure.signal in list(signal.Signals) else signal.SIGSEGV,
        ("its native code crashed", "--enforce-eager in engine.extra_args, or another engine.image"),
    )
    name = signal.Signals(failure.signal).name if failure.signal in list(signal.Signals) else "a signal"
    text = f"{_begin(failure)}: its process {failure.process} was ended by {name}: {why}"
    return Cause("signal", text, command, passes=True)


def _begin(failure: Failure) -> str:
    return "vLLM ended after it had come up" if failure.served else "vLLM ended"


def _from(failure: Failure) -> str:
    return f" (from {_short(str(failure.chain[0]), 120)})" if failure.direct and failure.chain else ""


def _short(text: str, most: int = MOST_OF_A_MESSAGE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
