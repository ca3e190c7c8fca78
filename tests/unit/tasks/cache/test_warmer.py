"""The program of the warm job: what it evicts, waits for, prints and imports."""

from __future__ import annotations

import ast
import errno
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from disk import disk_failure
from evict import Revision, check_space, to_evict
from exits import Exit, Failure
from manifest import Wanted
from options import Options, parsed
from report import tell
from source import client
from tests.support.builders import ROOT

WARMER = ROOT / "k8s" / "cache" / "warmer"


@pytest.mark.parametrize("path", sorted(WARMER.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_only_what_the_engines_image_has(path: Path) -> None:
    found = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in found if isinstance(node, ast.ImportFrom)}
    own = {each.stem for each in WARMER.glob("*.py")}
    assert not own & sys.stdlib_module_names
    known = own | sys.stdlib_module_names | {"boto3", "botocore", "awscrt"}
    assert {name.partition(".")[0] for name in names} <= known


def test_adapters_are_filled_before_the_model_and_nobody_evicts_the_other() -> None:
    own = [
        "--bucket=b",
        "--bucket-owner=1",
        "--prefix=p",
        "--repo=a/b",
        "--commit=c",
        "--manifest-sha256=m",
        "--root=/r",
    ]
    options = parsed([*own, "--needed=n", "--adapter=acme/polite,d,acme/polite/d,e"])
    assert [(part.repo, part.commit, part.prefix, part.manifest_sha256) for part in options.parts] == [
        ("acme/polite", "d", "acme/polite/d", "e"),
        ("a/b", "c", "p", "m"),
    ]
    assert {part.needed for part in options.parts} == {("n", "c", "d")}


OLD, MID, NEW = "1" * 40, "2" * 40, "3" * 40


@pytest.mark.parametrize(
    ("needed", "spare", "missing", "free", "gone"),
    [
        ("", 3, 0, 0, []),
        ("", 1, 0, 0, [OLD, MID]),
        ("", 0, 0, 99, [OLD, MID, NEW]),
        (OLD, 1, 0, 0, [MID]),
        (OLD, 0, 0, 0, [MID, NEW]),
        ("", 3, 10, 10, []),
        ("", 3, 11, 10, [OLD]),
        ("", 3, 21, 10, [OLD, MID]),
        (OLD, 3, 21, 10, [MID, NEW]),
        (OLD + MID + NEW, 0, 10**9, 0, []),
        (OLD, 0, 10**9, 0, [MID, NEW]),
    ],
)
def test_what_is_needed_never_goes_and_the_rest_the_longest_unused_first(
    needed: str, spare: int, missing: int, free: int, gone: list[str]
) -> None:
    held = [Revision(Path("/models/a--b", commit), 10, float(commit[0])) for commit in (NEW, OLD, MID)]
    names = [needed[i : i + 40] for i in range(0, len(needed), 40)]
    going = to_evict(held, needed=names, spare=spare, missing=missing, free=free)
    assert [each.commit for each in going] == gone


def test_lines_of_several_threads_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        for _ in range(500):
            tell("note", text="x")

    speakers = [threading.Thread(target=speak) for _ in range(8)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    lines = capfd.readouterr().out.splitlines()
    assert lines == ['SLIPWAY {"event": "note", "text": "x"}'] * 4000


@pytest.mark.parametrize(("grow_seconds", "fits"), [(0.0, False), (30.0, True)])
def test_room_that_is_being_made_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grow_seconds: float, fits: bool
) -> None:
    options = Options(
        "b", "111122223333", "p", "a/b", "c" * 40, "0" * 64, tmp_path, grow_seconds=grow_seconds
    )
    free, naps = iter([5, 5, 20]), list[float]()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    if fits:
        check_space(options, [Wanted("f", 10, "")], naps.append)
        assert naps == [0.5, 0.5]
    else:
        with pytest.raises(Failure, match="10 bytes are missing, 5 are free"):
            check_space(options, [Wanted("f", 10, "")], naps.append)


def test_a_full_disk_and_a_broken_one_are_told_apart(tmp_path: Path) -> None:
    codes = [
        disk_failure(OSError(n, "x"), "writing", tmp_path).code
        for n in (errno.ENOSPC, errno.EFBIG, errno.EIO)
    ]
    assert codes == [Exit.NO_SPACE, Exit.NO_SPACE, Exit.BAD_DISK]


def test_a_presigned_url_is_of_the_jobs_region_as_nobody_follows_a_redirect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    url = client(1).generate_presigned_url("get_object", Params={"Bucket": "models", "Key": "a b"})
    assert url.startswith("https://models.s3.eu-west-1.amazonaws.com/a%20b?X-Amz-Algorithm=AWS4-HMAC-SHA256")
