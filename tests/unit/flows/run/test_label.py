"""A worker that has other files than CI asks for refuses the run."""

from __future__ import annotations

import pytest

from flows.run.label import check_commit
from tasks.records.errors import InputError

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("commit", "tags"),
    [
        ("0123456789ab", [f"wanted-commit:{SHA}"]),
        (SHA, ["wanted-commit:0123456"]),
        ("fedcba987654", ["slipway"]),
        (None, []),
    ],
)
def test_the_commit_that_is_asked_for_passes(commit: str | None, tags: list[str]) -> None:
    check_commit(commit, tags)


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("fedcba987654", "CI asks for commit 0123456789ab, and this worker has fedcba987654"),
        (None, "this worker cannot tell which it has"),
    ],
)
def test_another_commit_is_refused(commit: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_commit(commit, [f"wanted-commit:{SHA}"])
