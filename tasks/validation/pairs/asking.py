"""Ask two releases the same prompts in turn, and print their answers and how long each took.

    SLIPWAY_API_KEY=… python -m tasks.validation.pairs.asking INSTRUCTIONS.json

The first round warms both: every later one finds the prompt in the prefix cache of either. Who is asked first changes from pair to pair.
A line has one answer of one release to one prompt, that of the second round also the seconds of all rounds but the first; the last line is
{"done": N} or {"failed": …}. Runs in a plain Python image, in a Job in the cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from tasks.cloud.waiting import REAL, Time
from tasks.validation.answers.asking import TIMES, AskingFailed, ask_prompt, read_answer, run

SIDES = ("before", "now")


def ask_in_turn(
    instructions: Mapping[str, Any], key: str, hear: Callable[[dict[str, Any]], None], time: Time = REAL
) -> None:
    """Ask both sides each prompt, round by round; `hear` gets the lines at the end. Raises AskingFailed."""
    answers: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(instructions["rounds"] + 1):
        for number, prompt in enumerate(instructions["prompts"]):
            # sides change places within a round and from one round to the next
            for side in SIDES if (turn + number) % 2 else SIDES[::-1]:
                addresses = instructions[side]
                address = addresses[turn % len(addresses)]
                try:
                    document, took = ask_prompt(instructions, prompt, key, address, time)
                except AskingFailed as failed:
                    raise AskingFailed(f"{side}: {failed}") from None
                one = (prompt["name"], side)
                if turn < TIMES:
                    answers[one].append(read_answer(instructions, prompt, document))
                if turn:
                    seconds[one].append(round(took, 6))
    for (name, side), both in answers.items():
        for turn, answer in enumerate(both):
            timed = {"seconds": seconds[name, side]} if turn else {}
            hear({"name": name, "side": side, "turn": turn, **answer, **timed})


if __name__ == "__main__":
    run(ask_in_turn)
