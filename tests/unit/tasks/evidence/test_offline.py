from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evidence.offline import verify_files
from tasks.records.errors import EvidenceRefused, InputError
from tests.support.evidence import NOW, a_chain_of_files


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    return a_chain_of_files(tmp_path)


def test_a_bundle_is_explained_on_one_page(files: tuple[Path, Path, Path]) -> None:
    after, before, key = files
    page = verify_files(after, key, before, NOW)
    assert "Evidence of llama in staging" in page
    assert "| load validation | PASS" in page
    assert "model/config.json" in page
    assert "chain was not followed" in verify_files(after, key, None, NOW)


def test_a_refused_bundle_says_the_next_command(files: tuple[Path, Path, Path]) -> None:
    after, _, key = files
    with pytest.raises(EvidenceRefused, match="cut chain") as refused:
        verify_files(after, key, after, NOW)
    assert refused.value.next_command


def test_a_key_that_is_gone_or_none_is_told(files: tuple[Path, Path, Path]) -> None:
    after, _, key = files
    with pytest.raises(InputError, match="cannot be read"):
        verify_files(after, key.with_name("gone.pem"))
    key.write_text("no key")
    with pytest.raises(InputError, match="public key cannot be read"):
        verify_files(after, key)
