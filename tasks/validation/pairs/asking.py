"""Ask two releases the same prompts in turn, and print their answers and how long each took.

    SLIPWAY_API_KEY=… python -m tasks.validation.pairs.asking INSTRUCTIONS.json

The first round warms both: every later one finds the prompt in the prefix cache of either. Who is asked first changes from pair to pair.
After the first of `rounds` the times are looked at: as long as they do not settle whether `slower` is passed, it goes on to the next of
them, where that is likely to end within `budget` seconds.
A line has one answer of one release to one prompt, that of the second round also the seconds of all rounds but the first; the last line is
{"done": N} or {"failed": …}. Runs in a plain Python image, in a Job in the cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tasks.cloud.waiting import REAL, Time
from tasks.validation.answers.asking import TIMES, AskingFailed, ask_prompt, read_answer, run
from tasks.validation.pairs.interval import interval_of

SIDES = ("before", "now")


def ask_in_turn(
    instructions: Mapping[str, Any], key: str, hear: Callable[[dict[str, Any]], None], time: Time = REAL
) -> None:
    """Ask both sides each prompt, round by round; `hear` gets the lines at the end. Raises AskingFailed."""
    asking = _Asking(instructions, key, time)
    began, turn = time.clock(), 0
    for last in instructions["rounds"]:
        spent = time.clock() - began
        if turn > 1 and (asking.settled() or spent / turn * (last + 1) > instructions["budget"]):
            break
        while turn <= last:
            asking.round(turn)
            turn += 1
    for line in asking.lines():
        hear(line)


class _Asking:
    """The answers and the times so far, by prompt and side."""

    def __init__(self, instructions: Mapping[str, Any], key: str, time: Time) -> None:
        self._told, self._key, self._time = instructions, key, time
        self._answers: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self._seconds: dict[tuple[str, str], list[float]] = defaultdict(list)

    def round(self, turn: int) -> None:
        """Each prompt of both sides, once."""
        for number, prompt in enumerate(self._told["prompts"]):
            # sides change places within a round and from one round to the next
            for side in SIDES if (turn + number) % 2 else SIDES[::-1]:
                addresses = self._told[side]
                address = addresses[turn % len(addresses)]
                try:
                    document, took = ask_prompt(self._told, prompt, self._key, address, self._time)
                except AskingFailed as failed:
                    raise AskingFailed(f"{side}: {failed}") from None
                one = (prompt["name"], side)
                if turn < TIMES:
                    self._answers[one].append(read_answer(self._told, prompt, document))
                if turn:
                    self._seconds[one].append(round(took, 6))

    def settled(self) -> bool:
        """Whether the times tell if the new side is slower than allowed."""
        before, now = (
            [second for prompt in self._told["prompts"] for second in self._seconds[prompt["name"], side]]
            for side in SIDES
        )
        found = interval_of(before, now)
        return found is not None and found.settles(self._told["slower"])

    def lines(self) -> Iterator[dict[str, Any]]:
        for (name, side), both in self._answers.items():
            for turn, answer in enumerate(both):
                timed = {"seconds": self._seconds[name, side]} if turn else {}
                yield {"name": name, "side": side, "turn": turn, **answer, **timed}


if __name__ == "__main__":
    run(ask_in_turn)
