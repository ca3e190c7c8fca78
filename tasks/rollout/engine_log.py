"""Find the first failure in vLLM's log: the process that failed, its exception, the message and the place. Pure.

vLLM 0.32.0 writes a record as `(Worker_TP0 pid=7) ERROR 11-28 14:49:11 [multiproc_executor.py:953] text`, with that prefix on
every line of it; an uncaught exception goes to stderr, with the process before it or with nothing. A failed worker is told
three times: by itself, then by the engine core and the API server, which only point "above".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.rollout.engine_messages import Message, collapsed, read_exception, read_usage_error

_ERRORS = ("ERROR", "CRITICAL")
MOST_LINES = 40  # of one exception's message
MOST_SEEN, MOST_OF_A_LINE = 4, 400  # lines, and characters of each, that are shown of it

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# as `kubectl logs --timestamps` writes it
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d) ")
_PROCESS = re.compile(r"^\((?P<name>[A-Za-z][\w.-]*)(?: [\w.]+=[^)\s]+| rank=\d+)*\) ?")
_RECORD = re.compile(
    r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<where>\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[[^\]]+\]) ?"
)
# uvicorn's own: an error's traceback goes on without it
_UVICORN = re.compile(r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL): {2,}")
# torch.distributed's excepthook
_RANK = re.compile(r"^\[rank\d+\]: ?")
_GROUP = re.compile(r"^ +[|+] ?")

_TRACEBACK = re.compile(r"^(?:Exception Group )?Traceback \(most recent call last\):")
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>\S+))?')
_CHAINED = {
    "The above exception was the direct cause of the following exception:": "cause",
    "During handling of the above exception, another exception occurred:": "context",
}
_DIED = re.compile(
    r"Worker proc (?P<name>\S+) died unexpectedly(?: \(exit code: (?P<code>-?\d+)\))?"
    r"|Process (?P<process>\S+) \(PID: \d+\) died with exit code (?P<ended>-?\d+)"
    r"|Failed (?:core|frontend) proc\(s\): \{[^}]*?'(?P<core>[^']+)': (?P<signal>-\d+)"
)
# the process that says this ends with it
_FATAL = re.compile(
    r"failed to start|encountered a fatal error|WorkerProc failed|died unexpectedly|hit an exception|while running API servers"
    r"|output_handler failed|Application startup failed|Error executing method"
)
# a rank among others: its log's name, and its process's (WorkerProc.make_worker_process and setup_proc_title_and_log_prefix)
_OF_SEVERAL = re.compile(r"VllmWorker-\d+$|Worker(_\w+?\d+)*_TP\d+")
# and what that is said in
_HEADING = re.compile(
    r"(failed to start|encountered a fatal error|WorkerProc failed|hit an exception|output_handler failed)\.?$"
)
_PROCESS_OF = re.compile(r"^Process (?P<name>[\w:.-]+):$")
# what only points to another process, or follows from its end
_POINTS = re.compile(
    r"See root cause above|See stack trace|check the stack trace above|EngineDeadError|Executor failed"
    r"|failed to be inspected\. Please check the logs|died unexpectedly|died with exit code|Engine process failed to start"
    r"|sub-exceptions?\)|^(KeyboardInterrupt|SystemExit|CancelledError|asyncio\.exceptions\.CancelledError)\b"
    r"|cannot schedule new futures after shutdown|Error raised in subprocess"
)
_FOLLOWS = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|remote process (exited|has)|recvValue failed|RuntimeError: cancelled"
    r"|Socket (closed|is not connected)|EOFError|ZMQError|NCCL communicator was aborted"
)
# tracebacks of what is cleaned up or tried and left, while the process goes on or has ended
_IGNORED = re.compile(r"^(Exception ignored |Exception in thread |Task exception was never retrieved)")
_IGNORED_PLACES = ("resource_tracker.py", "weakref.py")
# what ends the message of an exception on stderr
_ENDS = re.compile(
    r"^(nanobind: |\S+\.pyx?:\d+: \w*Warning|\[[WIE]\d{3,4} |Application startup failed|\[rank\d+\]:\[|usage: |Triton is installed|Loading \w+ checkpoint"
    r"|sys:\d+: |/\S+: \w+Warning|There appear to be \d+ leaked|Exception ignored |Process [\w:.-]+:$)"
)
_SIGNALLED = re.compile(
    r"^(?P<words>Fatal Python error: .+|!+ Segfault encountered !+|\S*:? ?(?:Segmentation fault|Illegal instruction|Bus error|Killed|Aborted)"
    r"(?: \(core dumped\))?|terminate called after throwing an instance of .+|free\(\): .+|double free or corruption.*"
    r"|.*error while loading shared libraries: .+|.*exec format error|\S*sh: .+: (?:not found|command not found|No such file or directory)"
    r"|python3?: can't open file .+)$"
)
_NAMED = re.compile(r"(Error|Exception|Interrupt|Exit)$")
_STOPPED = re.compile(r"\[shutdown\] API server: shutdown triggered|^INFO: +Shutting down")
_SERVED = "Application startup complete"


@dataclass(frozen=True)
class Failure:
    """What ended vLLM.

    Args:
        process: the process that failed, as it names itself ("Worker_TP0"); empty where the log does not say.
        exception: its class without the module; "usage" for a command line that was refused, "" for a process that died.
        message: in one line.
        place: file, line and function that raised it, as the traceback has them; empty where there is none.
        frames: "FILE in FUNCTION" of the traceback, outermost first.
        chain: exceptions before it, nearest first: what it was raised from, or while handling which.
        direct: the nearest of the chain is its direct cause.
        served: it had come up before.
        signal: the signal that ended the process; 0 where that is not known.
        alone: the process is one of several ranks, and no other failed by itself.
        seen: the lines that tell of it, as they stand in the log.
    """

    process: str
    exception: str
    message: str
    place: str = ""
    frames: tuple[str, ...] = ()
    chain: tuple[Message, ...] = ()
    direct: bool = False
    served: bool = False
    signal: int = 0
    alone: bool = False
    seen: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The exception as Python writes it, in one line."""
        return str(Message(self.exception, self.message))


@dataclass
class _Block:
    """One error in the log: a traceback with those it is chained to, or a line that tells of an end."""

    at: int
    process: str
    marked: bool  # its process says that it ends with it
    raw: bool  # on stderr, not caught
    links: list[Message] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    place: str = ""
    signal: int = 0
    seen: Sequence[str] = ()

    @property
    def text(self) -> str:
        return str(self.links[-1]) if self.links else ""

    @property
    def points(self) -> bool:
        return bool(_POINTS.search(self.text))

    @property
    def follows(self) -> bool:
        return bool(_FOLLOWS.search(self.text))


@dataclass(frozen=True)
class _Line:
    at: int
    process: str
    level: str
    where: str
    text: str
    raw: str


def was_stopped(lines: Iterable[str]) -> bool:
    """Whether vLLM was told to stop by a signal, having come up."""
    return any(_STOPPED.search(line) for line in lines)


def first_failure(lines: Sequence[str]) -> Failure | None:
    """The first failure of the process that ended vLLM; None where the log tells of none.

    A worker or engine core that says of itself that it failed goes before the API server, whose error points to it;
    of several workers the first. An error that only follows from another's end is taken where there is no other.
    """
    read = [_line(at, line) for at, line in enumerate(lines)]
    blocks = sorted(_blocks(read), key=lambda block: block.at)
    found = _choose(blocks)
    if found is None:
        return None
    served = any(_SERVED in line.text for line in read[: found.at])
    final = found.links[-1]
    return Failure(
        process=found.process,
        exception=final.exception,
        message=final.text,
        place=found.place,
        frames=tuple(found.frames),
        chain=tuple(reversed(found.links[:-1])),
        direct=bool(found.kinds) and found.kinds[-1] == "cause",
        served=served,
        signal=found.signal,
        alone=_is_alone(found, blocks),
        seen=tuple(line[:MOST_OF_A_LINE] for line in found.seen[:MOST_SEEN]),
    )


def _choose(blocks: Sequence[_Block]) -> _Block | None:
    own = [block for block in blocks if block.links and not block.points and not block.follows]
    for marked in (block for block in own if block.marked):
        return marked
    # what is not caught ends the process: the last one did
    for raw in reversed([block for block in own if block.raw]):
        return raw
    for died in blocks:
        if died.signal or _by_signal(died):
            return died
    ended = [block for block in blocks if block.marked or block.raw]
    if not ended:
        return None
    logged = [block for block in own if block.at < ended[-1].at]
    follow = [block for block in ended if block.follows]
    return (logged[-1:] or follow[:1] or ended[-1:])[0]


def _is_alone(found: _Block, blocks: Sequence[_Block]) -> bool:
    others = {block.process for block in blocks if block.marked and not block.points and not block.follows}
    return bool(_OF_SEVERAL.match(found.process)) and not any(
        _OF_SEVERAL.match(other) for other in others - {found.process}
    )


def _by_signal(block: _Block) -> bool:
    """Note the signal and the process, where the error names a process that one ended."""
    died = _DIED.search(block.text)
    code = died and (died["code"] or died["ended"] or died["signal"])
    if not died or not code or int(code) >= 0:
        return False
    block.signal, block.process = -int(code), died["name"] or died["process"] or died["core"]
    return True


def _line(at: int, line: str) -> _Line:
    text = _TIME.sub("", _ANSI.sub("", line.rstrip("\r\n")))
    process = ""
    if found := _PROCESS.match(text):
        process, text = found["name"], text[found.end() :]
    if found := _RECORD.match(text):
        return _Line(at, process, found["level"], found["where"], text[found.end() :], line)
    if found := _UVICORN.match(text):
        level = "" if found["level"] in _ERRORS else found["level"]
        return _Line(at, process, level, "", text[found.end() :], line)
    text = (
        _GROUP.sub("", _RANK.sub("", text))
        if text.startswith(("[rank", "  |", "  +", "    |", "    +"))
        else text
    )
    return _Line(at, process, "", "", text, line)


def _blocks(lines: Sequence[_Line]) -> list[_Block]:
    """Every error in the log. Lines of several processes may alternate: each is read by itself."""
    streams: dict[tuple[str, str], list[_Line]] = {}
    records: list[list[_Line]] = []
    for line in lines:
        key = (line.process, line.where if line.level in _ERRORS else "")
        if line.level and (open_stream := streams.pop((line.process, ""), None)):
            records.append(open_stream)
        if line.level and line.level not in _ERRORS:
            continue
        streams.setdefault(key, []).append(line)
    records += streams.values()
    return [block for record in records for block in _read(record)]


def _read(record: Sequence[_Line]) -> list[_Block]:
    blocks: list[_Block] = []
    chain: _Block | None = None
    marked, ignored, kind, at = False, False, "", 0
    while at < len(record):
        line = record[at]
        if _PROCESS_OF.match(line.text) or (line.level and _FATAL.search(line.text)):
            marked = True
        ignored = ignored or bool(_IGNORED.match(line.text))
        if _TRACEBACK.match(line.text):
            if chain is None or not kind:
                chain = _Block(line.at, line.process, marked, not line.level)
            at = _read_traceback(record, at + 1, chain, kind)
            if not ignored and chain not in blocks and not chain.place.startswith(_IGNORED_PLACES):
                blocks.append(chain)
            kind, ignored = "", False
            continue
        if line.text in _CHAINED:
            kind = _CHAINED[line.text]
        elif line.text.strip() and (found := _told(record, at)):
            chain = found[0]
            chain.marked = chain.marked or marked
            blocks.append(chain)
            at = found[1] - 1
        at += 1
    return blocks


def _read_traceback(record: Sequence[_Line], at: int, block: _Block, kind: str) -> int:
    """Read frames and exception into the block; the index after them."""
    while at < len(record) and (record[at].text.startswith(" ") or not record[at].text):
        if frame := _FRAME.match(record[at].text):
            name = re.sub(r".*/(?:site|dist)-packages/", "", frame["file"])
            function = f" in {frame['function']}" if frame["function"] else ""
            block.frames.append(f"{name}{function}")
            block.place = f"{name}:{frame['line']}{function}"
        at += 1
    if at == len(record):
        return at
    end = _end_of_message(record, at)
    if block.links and kind:
        block.kinds.append(kind)
    block.links.append(read_exception([line.text for line in record[at:end]]))
    block.seen = [line.raw for line in record[at:end] if line.text.strip()]
    return end


def _end_of_message(record: Sequence[_Line], at: int) -> int:
    end = at + 1
    while end < min(len(record), at + MOST_LINES):
        text = record[end].text
        if text in _CHAINED or _TRACEBACK.match(text) or _ENDS.match(text):
            break
        end += 1
    return end


def _told(record: Sequence[_Line], at: int) -> tuple[_Block, int] | None:
    """A block for an end that is told without a traceback before it, and the index after it."""
    line = record[at]
    end = _end_of_message(record, at)
    texts = [one.text for one in record[at:end]]
    block = _Block(
        line.at,
        line.process,
        False,
        not line.level,
        seen=[one.raw for one in record[at:end] if one.text.strip()],
    )
    if not line.level and ": error: " in line.text and (usage := read_usage_error(texts)):
        block.links.append(usage)
        return block, end
    if not line.level and (signalled := _SIGNALLED.match(line.text)):
        more = [text.strip() for text in texts[1:2] if text.startswith("  what():")]
        block.links.append(Message("", collapsed(" ".join([signalled["words"], *more]))))
        return block, end
    bare = read_exception(texts)
    if _NAMED.search(bare.exception) and not line.text.startswith(" "):
        block.links.append(bare)
        return block, end
    if line.level and not _HEADING.search(line.text):
        block.links.append(Message("", collapsed(line.text)))
        block.seen = [line.raw]
        block.marked = bool(_FATAL.search(line.text))
        return block, at + 1
    return None
