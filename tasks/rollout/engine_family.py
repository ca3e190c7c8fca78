"""A kind of failure that vLLM ends with: how it is known, its cause in plain words, and what helps. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Family:
    """One kind.

    Args:
        pattern: looked for in "Exception: message"; its named groups may stand in `cause` and `next_command`.
        under: looked for in every frame of the traceback too, as "FILE in FUNCTION", where the message does not say enough.
        passes: the same start may succeed later: what it needs is being written, freed or put up.
    """

    name: str
    pattern: str
    cause: str
    next_command: str
    under: str = ""
    passes: bool = False
    regex: re.Pattern[str] = field(init=False)
    frames: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "regex", re.compile(self.pattern))
        object.__setattr__(self, "frames", re.compile(self.under))

    def knows(self, said: str, frames: Sequence[str]) -> re.Match[str] | None:
        """The match where this is the kind of an error that reads so and was raised under these frames."""
        found = self.regex.search(said)
        if found and self.under and not any(self.frames.search(frame) for frame in frames):
            return None
        return found


FLAG = "engine.extra_args in the model's file"
STAGE_AGAIN = "slipway deploy again: staging and warming verify and repair what is there"
LARGER = "take a larger GPU (cluster.gpu.instance_type in the environment's file) or spread it with engine.tensor_parallel_size"
