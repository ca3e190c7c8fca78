"""The decisions of staging, without a server."""

from __future__ import annotations

import hashlib
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cloud.waiting import Time
from tasks.records.errors import HubUnavailable, SlipwayError, StagingFailed
from tasks.records.model import Source
from tasks.records.results import HubFile, HubModel, Manifest, StagedFile
from tasks.staging.backoff import LONGEST_PAUSE, Backoff, asked_pause, describe_retry, own_pause
from tasks.staging.buffers import BufferPool
from tasks.staging.hashes import FileHash, SerialHash, combined, crc64nvme, encoded
from tasks.staging.journal import Action, FileState, decide
from tasks.staging.model_manifest import describes, lost
from tasks.staging.parts import DEFAULT_FLOOR, MIB, cut, part_size
from tasks.staging.selection import select
from tasks.staging.session import HubSession
from tasks.staging.stop import Stop, Stopped
from tasks.staging.transfer import buffers_for
from tasks.staging.transfer_progress import TransferProgress
from tests.support.clock import Clock
from tests.support.heard import Heard

SHA = "a" * 64


@given(st.integers(0, 50 << 40))
def test_no_file_needs_more_parts_than_s3_takes(size: int) -> None:
    one = part_size(size)
    assert -(-size // one) <= 10_000
    assert one % MIB == 0
    assert DEFAULT_FLOOR <= one <= max(DEFAULT_FLOOR, size // 9_500 + 2 * MIB)


@given(st.integers(0, 5_000), st.integers(1, 700))
def test_parts_cover_a_file_without_gap_or_overlap(size: int, one: int) -> None:
    parts = cut(size, one)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert parts[0].offset == 0
    assert all(a.offset + a.size == b.offset for a, b in itertools.pairwise(parts))
    assert parts[-1].offset + parts[-1].size == size


def test_a_floor_below_s3s_smallest_part_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller"):
        part_size(1, MIB)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_the_crcs_of_parts_combine_to_that_of_the_file(pieces: list[bytes]) -> None:
    parts = [(crc64nvme(piece), len(piece)) for piece in pieces]
    assert combined(parts) == crc64nvme(b"".join(pieces))


def test_a_crc_is_written_as_s3_writes_it() -> None:
    # The check value of CRC-64/NVME: https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert encoded(0xAE8B14860A799888) == "rosUhgp5mIg="
    assert encoded(0) == "AAAAAAAAAAA="


@given(st.permutations(range(6)))
def test_parts_in_any_order_are_hashed_in_order(order: list[int]) -> None:
    pieces = [bytes([number]) * 10 for number in range(6)]
    released: list[int] = []
    stream = SerialHash(HubFile(path="f", size=60, sha256=SHA), 6, Stop())
    for number in order:
        stream.feed(number, memoryview(pieces[number]), lambda number=number: released.append(number))  # type: ignore[misc]
    assert stream.result().sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert released == list(range(6))


def test_a_part_that_comes_after_the_hash_was_cancelled_gives_its_buffer_back() -> None:
    released: list[int] = []
    stream = SerialHash(HubFile(path="f", size=2, sha256=SHA), 2, Stop())
    stream.feed(1, memoryview(b"b"), lambda: released.append(1))
    stream.cancel()
    stream.feed(0, memoryview(b"a"), lambda: released.append(0))
    assert released == [1, 0]


def test_a_stopped_transfer_does_not_wait_for_a_hash() -> None:
    stop = Stop()
    stream = SerialHash(HubFile(path="f", size=2, sha256=SHA), 2, stop)
    stop.set()
    with pytest.raises(Stopped):
        stream.result()


def test_a_small_file_is_held_against_gits_own_sha1() -> None:
    whole = FileHash(6)
    whole.update(memoryview(b"hello\n"), git=True)
    given_by_git = "ce013625030ba8dba906f756967f9e9ca394464a"  # `printf 'hello\n' | git hash-object --stdin`
    assert whole.mismatch(HubFile(path="f", size=6, git_sha1=given_by_git)) is None
    assert "git sha1" in str(whole.mismatch(HubFile(path="f", size=6, git_sha1="0" * 40)))


def staged(**changes: object) -> StagedFile:
    document = {
        "path": "f", "size": 10, "sha256": SHA, "crc64nvme": "AAAAAAAAAAA=", "part_size": 5, "parts": (),
    }  # fmt: skip
    return StagedFile.model_validate(document | changes)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (FileState(), Action.SEND),
        (FileState(record=staged()), Action.SEND),
        (FileState(9), Action.REPLACE),
        (FileState(9, "AAAAAAAAAAA=", staged()), Action.REPLACE),
        (FileState(10), Action.READ_BACK),
        (FileState(10, "AAAAAAAAAAA="), Action.READ_BACK),
        (FileState(10, "AAAAAAAAAAA=", staged()), Action.NOTHING),
        (FileState(10, "BBBBBBBBBBB=", staged()), Action.READ_BACK),
        (FileState(10, None, staged()), Action.READ_BACK),
        (FileState(10, "AAAAAAAAAAA=", staged(sha256="b" * 64)), Action.READ_BACK),
    ],
)
def test_what_is_there_decides_what_is_done(state: FileState, action: Action) -> None:
    assert decide(HubFile(path="f", size=10, sha256=SHA), state) is action


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {}, 0),
        (200, {"RateLimit": '"resolvers";r=12;t=55'}, 0),
        (200, {"RateLimit": '"resolvers";r=0;t=55'}, 55),
        (429, {"RateLimit": '"resolvers";r=0;t=55', "Retry-After": "60"}, 60),
        (429, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "7"}, 7),
        (200, {"Retry-After": "7"}, 0),
        (429, {"Retry-After": "86400"}, LONGEST_PAUSE),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
    ],
)
def test_an_answer_asks_for_a_pause(status: int, headers: dict[str, str], seconds: float) -> None:
    assert asked_pause(status, headers) == seconds


def test_own_pauses_double_and_end_at_eight_seconds() -> None:
    assert [own_pause(attempt, 1.0) for attempt in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 8]


def test_a_pause_ends_when_the_transfer_does() -> None:
    stop, clock = Stop(), Clock(0.0)
    backoff = Backoff(stop, time=Time(clock, lambda seconds: stop.set()))
    backoff.heed(429, {"Retry-After": "300"})
    with pytest.raises(Stopped):
        backoff.wait()


GONE = HubUnavailable("the hub answered 503 to the end of the retries", evidence=["GET f: 503"])


@pytest.mark.parametrize(
    ("problem", "failed", "line"),
    [
        (GONE, 1, "GET f: 503: attempt 2 of 8"),
        (GONE, 0, "GET f: 503: attempt 1 of 8"),
        (StagingFailed("f: another range", evidence=["asked"]), 7, "f: another range: attempt 8 of 8"),
    ],
)
def test_a_retry_is_told_by_what_and_why(problem: SlipwayError, failed: int, line: str) -> None:
    assert describe_retry(problem, failed) == line


def test_each_retry_says_when_it_comes_and_after_the_last_nobody_waits() -> None:
    clock, lines = Clock(0.0), list[str]()
    backoff = Backoff(Stop(), say=lines.append, time=Time(clock, clock.sleep), chance=lambda: 1.0)
    for failed in range(1, 9):
        backoff.again(failed, GONE)
    assert len(lines) == 7
    assert (lines[0], lines[-1]) == (
        "GET f: 503: attempt 2 of 8 in 500 ms",
        "GET f: 503: attempt 8 of 8 in 8.0 s",
    )
    assert clock.now == pytest.approx(0.5 + 1 + 2 + 4 + 8 + 8 + 8)


def test_what_several_workers_meet_at_once_is_said_once_and_later_again() -> None:
    clock, lines = Clock(0.0), list[str]()
    backoff = Backoff(Stop(), say=lines.append, time=Time(clock, lambda seconds: None), chance=lambda: 1.0)
    clock.sleep(1)
    for worker in range(3):
        assert backoff._is_news("GET f: 503: attempt 2 of 8", 2.0 + worker) is (worker == 0)
    clock.sleep(2)
    assert backoff._is_news("GET f: 503: attempt 2 of 8", 9.0)


def test_an_answer_that_allows_no_more_is_told_once() -> None:
    clock, lines = Clock(0.0), list[str]()
    backoff = Backoff(Stop(), say=lines.append, time=Time(clock, clock.sleep))
    for _ in range(3):
        backoff.heed(200, {"RateLimit": '"resolvers";r=0;t=55'})
    assert lines == ["the hub allows no request for 55.0 s: waiting"]


def test_a_buffer_comes_back_when_its_last_holder_lets_go() -> None:
    pool, stop = BufferPool(1, 8), Stop()
    buffer = pool.take(stop)
    buffer.hold()
    buffer.release()
    threading.Timer(0.05, buffer.release).start()
    assert pool.take(stop) is buffer


@pytest.mark.parametrize(
    ("workers", "part", "count"),
    [
        (8, 16 * MIB, 18),  # one each way and two that wait for the hash
        (8, 5 * MIB, 18),
        (8, 43 * MIB, 7),  # a file of 400 GB: parts are larger, buffers fewer
        (8, 400 * MIB, 3),
        (1, 16 * MIB, 4),
        (1, 0, 4),
    ],
)
def test_buffers_stay_within_their_memory(workers: int, part: int, count: int) -> None:
    assert buffers_for(workers, part) == count


FILES = [
    HubFile(path=path, size=1)
    for path in (
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "config.json",
        "original/params.json",
    )
]


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        (Source(repo="a/b"), ["config.json", "model.safetensors", "original/params.json"]),
        (Source(repo="a/b", ignore=("original/",)), ["config.json", "model.safetensors"]),
        (Source(repo="a/b", allow=("*.bin", "*.json"), ignore=("original/*",)), ["config.json", "pytorch_model.bin"]),
        (Source(repo="a/b", allow=("config.json",)), ["config.json"]),
    ],
)  # fmt: skip
def test_files_are_chosen_by_pattern_and_format(source: Source, paths: list[str]) -> None:
    chosen, skipped = select(FILES, source)
    assert [file.path for file in chosen] == paths
    assert len(chosen) + len(skipped) == len(FILES)


def test_the_token_goes_to_the_hubs_own_host_alone() -> None:
    session = HubSession("https://huggingface.co", "hf_secret")
    assert session.at_hub("https://huggingface.co/api/models")
    assert session.at_hub("https://huggingface.co:443/x")
    for elsewhere in (
        "http://huggingface.co/x",
        "https://cdn-lfs.hf.co/x",
        "https://huggingface.co.evil.example/x",
    ):
        assert not session.at_hub(elsewhere)


HUB = HubModel(repo="a/b", commit="c" * 40, gated=False, files=(HubFile(path="f", size=10, sha256=SHA),))


def listed(*files: StagedFile) -> Manifest:
    return Manifest.model_validate(
        {
            "repo": "a/b",
            "commit": "c" * 40,
            "files": files,
            "staged_at": "2026-01-01T00:00:00Z",
            "staged_by": "0",
        }
    )


def test_a_manifest_describes_exactly_the_files_asked_for() -> None:
    assert describes(listed(staged()), HUB)
    assert not describes(listed(), HUB)
    assert not describes(listed(staged(), staged(path="more")), HUB)
    assert not describes(listed(staged(sha256="b" * 64)), HUB)


def test_a_manifest_does_not_hide_what_the_bucket_lost() -> None:
    assert lost(listed(staged()), "p", {"p/f": 10}) == []
    assert lost(listed(staged()), "p", {"p/f": 9}) == ["f"]
    assert lost(listed(staged()), "p", {}) == ["f"]


def test_bytes_are_told_by_file_and_in_all() -> None:
    heard, clock = Heard(), Clock(0.0)
    progress = TransferProgress({"a": 8 * MIB, "b": 2 * MIB, "empty": 0}, heard, clock)
    progress.begin("a")
    clock.now = 1.0
    progress.add("a", 2 * MIB)
    assert heard.steps == [(2 * MIB, 10 * MIB)]
    assert heard.details == ["| 1 of 3 files | a: 2.0 MiB of 8.0 MiB (25 %), 2.0 MiB/s, 3.0 s left"]


def test_bytes_that_come_quickly_are_not_all_told() -> None:
    heard, clock = Heard(), Clock(0.0)
    progress = TransferProgress({"a": 1000}, heard, clock)
    for _ in range(1000):
        progress.add("a", 1)
        clock.now += 0.001
    assert 2 <= len(heard.steps) <= 4
    assert heard.steps[-1] == (1000.0, 1000.0)
    assert heard.details[-1] == "| 1 of 1 files"
