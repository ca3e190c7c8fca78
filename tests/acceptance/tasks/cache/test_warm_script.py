"""The program that runs in the cluster, as a process, against S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from slipway_sandbox.testing import Faults, Sandbox

from tests.support.caches import MIB, Script


@pytest.fixture
def sandbox(sandbox_aws: Sandbox) -> Sandbox:
    """The script needs no cluster."""
    return sandbox_aws


def test_every_file_lands_and_the_marker_after_it(script: Script) -> None:
    outcome = script()
    assert outcome.code == 0, outcome.stderr
    script.assert_whole()
    done = outcome.last("done")
    assert done["bytes_copied"] == done["total_bytes"] == 13 * MIB + 333 + 2 + 5
    assert done["path"] == f"acme--small/{script.staged.commit}"


def test_files_may_be_read_by_the_serving_pods(script: Script) -> None:
    script()
    assert (script.folder / "config.json").stat().st_mode & 0o044 == 0o044


def test_a_second_run_copies_nothing_and_asks_s3_for_nothing(script: Script, faults: Faults) -> None:
    script()
    faults.set("s3-denied")
    outcome = script()
    assert outcome.code == 0
    assert outcome.last("done")["reused"]
    assert len(outcome.lines) == 1


def test_a_file_that_went_missing_comes_back_alone(script: Script) -> None:
    script()
    (script.folder / "second.safetensors").unlink()
    assert script().last("done")["bytes_copied"] == 4 * MIB
    script.assert_whole()


def test_progress_ends_at_the_total(script: Script) -> None:
    progress = script().last("progress")
    assert progress["done"] == progress["total"] == 13 * MIB + 333 + 7


def journalled(script: Script) -> int:
    """Bytes of the large file an unfinished run has on the disk."""
    journal = script.folder / ".slipway-progress.json"
    if not journal.exists():
        return 0
    size = json.loads(journal.read_text())["bytes"].get("model.safetensors", 0)
    assert isinstance(size, int)
    return size


def test_after_kill_9_what_is_on_the_disk_is_not_fetched_again(script: Script, faults: Faults) -> None:
    faults.set("s3-503", target="GetObject", probability=0.5, count=4)  # fewer than it tries: slow, not over
    process = script.start("--threads=1", "--journal-seconds=0")
    deadline = time.monotonic() + 30
    while not journalled(script):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (script.folder / ".slipway-complete.json").exists()
    held = journalled(script)
    faults.clear()
    outcome = script()
    assert outcome.code == 0, outcome.stderr
    assert outcome.last("done")["bytes_copied"] == 13 * MIB + 333 + 7 - held
    script.assert_whole()


def test_a_journal_that_lies_costs_a_fetch_not_a_wrong_file(script: Script) -> None:
    script.folder.mkdir(parents=True)
    (script.folder / "model.safetensors").write_bytes(bytes(9 * MIB + 333))
    journal = {"bytes": {"model.safetensors": 5 * MIB}, "proven": {}}
    (script.folder / ".slipway-progress.json").write_text(json.dumps(journal))
    outcome = script()
    assert outcome.code == 0
    assert "torn" in outcome.texts
    whole = 13 * MIB + 333 + 7
    again = (
        0 if script.staged.by_part else 9 * MIB + 333
    )  # by file, what came before the lie was found comes twice
    assert whole <= outcome.last("done")["bytes_copied"] <= whole + again
    script.assert_whole()


def test_one_torn_part_on_the_volume_is_fetched_alone(script: Script, weights: dict[str, bytes]) -> None:
    script.folder.mkdir(parents=True)
    held = bytearray(weights["model.safetensors"])
    held[3 * MIB] ^= 1
    (script.folder / "model.safetensors").write_bytes(held)
    journal = {"bytes": {"model.safetensors": 8 * MIB}, "proven": {}}
    (script.folder / ".slipway-progress.json").write_text(json.dumps(journal))
    outcome = script()
    assert outcome.code == 0
    script.assert_whole()
    if script.staged.by_part:
        torn = f"model.safetensors: bytes {3 * MIB} to {4 * MIB} on the volume are torn"
        assert torn in outcome.texts
        assert outcome.last("done")["bytes_copied"] == (1 + 1 + 4) * MIB + 333 + 7


def test_what_proves_a_file_is_said(script: Script) -> None:
    expected = "CRC64NVME by part" if script.staged.by_part else "sha256"
    assert {line["proof"] for line in script().lines if line["event"] == "file"} == {expected}


def test_a_torn_journal_counts_as_none(script: Script) -> None:
    script.folder.mkdir(parents=True)
    (script.folder / ".slipway-progress.json").write_text('{"bytes": {"mod')
    assert script().code == 0
    script.assert_whole()


def test_wrong_bytes_in_s3_are_read_twice_and_end_with_65_and_no_marker(script: Script) -> None:
    script.staged.put("second.safetensors", bytes(4 * MIB))
    outcome = script()
    assert outcome.code == 65
    notes = [line["text"] for line in outcome.lines if line["event"] == "note"]
    cause = outcome.last("error")["cause"]
    if script.staged.by_part:
        assert all(note.startswith("second.safetensors: bytes ") and "misread" in note for note in notes)
        assert cause.startswith("second.safetensors: bytes ")
        assert "CRC64NVME differs" in cause
    else:
        assert notes == ["second.safetensors is torn or was misread: it is fetched whole"]
        assert "second.safetensors: sha256" in cause
    assert not (script.folder / ".slipway-complete.json").exists()


def test_another_manifest_than_the_staged_one_ends_with_65(script: Script) -> None:
    outcome = script("--manifest-sha256=" + "0" * 64)
    assert outcome.code == 65
    assert "manifest" in outcome.last("error")["cause"]


def test_a_path_outside_the_folder_is_refused(script: Script) -> None:
    script.staged.files["../../evil"] = b"x"
    script.staged.publish()
    assert script().code == 65
    assert not (script.root / "evil").exists()


def test_a_model_that_does_not_fit_ends_with_28_before_a_byte_is_fetched(script: Script) -> None:
    script.staged.publish(**{"second.safetensors": 1 << 60})
    outcome = script()
    assert outcome.code == 28
    assert "no space left" in outcome.last("error")["cause"]
    assert not any(line["event"] == "progress" for line in outcome.lines)


def test_denied_ends_with_77(script: Script, faults: Faults) -> None:
    faults.set("s3-denied", target="GetObject")
    outcome = script()
    assert outcome.code == 77
    assert "AccessDenied" in outcome.last("error")["cause"]


def test_a_bucket_of_another_account_ends_with_77_before_a_byte_is_written(script: Script) -> None:
    assert script("--bucket-owner=999988887777").code == 77
    assert not [*script.folder.glob("*.safetensors")]


def test_no_credentials_end_with_77_and_name_the_pod_identity(script: Script) -> None:
    outcome = script(credentials=False)
    assert outcome.code == 77
    assert "pod identity" in outcome.last("error")["cause"]


def test_a_bucket_that_is_not_there_ends_with_66(script: Script) -> None:
    assert script("--bucket=no-such-bucket-here").code == 66


def test_a_body_cut_short_by_s3_is_read_on(script: Script, faults: Faults) -> None:
    faults.set("s3-disconnect", count=3)
    outcome = script()
    assert outcome.code == 0, outcome.lines
    assert faults.active() == []
    script.assert_whole()
    again = [line["text"] for line in outcome.lines if " of 6 in " in line.get("text", "")]
    assert again, outcome.lines
    assert "Signature" not in "".join(again)


def test_a_volume_another_warming_holds_ends_with_75(script: Script, faults: Faults) -> None:
    faults.set("s3-503", target="GetObject", probability=0.6)
    first = script.start("--threads=1")
    while not (script.root / ".slipway.lock").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    second = script()
    faults.clear()
    first.communicate(timeout=60)
    assert (second.code, first.returncode) == (75, 0)


def test_commits_nobody_needs_go_those_of_another_repo_too(script: Script) -> None:
    kept, gone, other = "a" * 40, "b" * 40, "d" * 40
    for folder in (f"acme--small/{kept}", f"acme--small/{gone}", f"acme--large/{other}"):
        (script.root / folder).mkdir(parents=True)
    done = script(f"--needed={kept}").last("done")
    assert sorted(p.name for p in script.root.glob("*--*/*")) == [kept, script.staged.commit]
    assert set(done["held"]) == {kept, script.staged.commit}
    assert done["held"][script.staged.commit] >= 13 * MIB


def test_a_revision_that_was_to_be_kept_goes_when_its_room_is_needed(script: Script) -> None:
    spare = script.root / "acme--small" / ("b" * 40)
    spare.mkdir(parents=True)
    assert script("--spare=1").code == 0
    assert spare.is_dir()
    script.staged.commit = "d" * 40
    script.staged.publish(**{"second.safetensors": 1 << 60})
    assert script("--spare=2").code == 28
    assert sorted(p.name for p in script.root.glob("*--*/*")) == ["d" * 40]


def test_a_needed_revision_stays_and_the_volume_is_full(script: Script) -> None:
    script()
    needed, script.staged.commit = script.staged.commit, "d" * 40
    script.staged.publish(**{"second.safetensors": 1 << 60})
    assert script(f"--needed={needed}").code == 28
    assert (script.root / "acme--small" / needed / ".slipway-complete.json").is_file()


def test_another_choice_of_files_leaves_exactly_those(script: Script) -> None:
    script()
    del script.staged.files["second.safetensors"]
    script.staged.publish()
    outcome = script()
    assert outcome.last("done")["bytes_copied"] == 0
    assert not (script.folder / "second.safetensors").exists()
    script.assert_whole()


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a tmpfs")  # noqa: S108
def test_how_a_file_was_written_is_said_as_it_was(script: Script) -> None:
    script.root = Path("/dev/shm") / f"slipway-{os.getpid()}"  # noqa: S108
    script.root.mkdir()
    try:
        os.close(os.open(script.root / "probe", os.O_CREAT | os.O_RDWR | os.O_DIRECT))
        how = "past the page cache"
    except OSError:  # tmpfs takes O_DIRECT since Linux 6.6 only
        how = "through the page cache"
    try:
        outcome = script()
        script.assert_whole()
        assert outcome.last("file")["written"] == how
    finally:
        shutil.rmtree(script.root)
