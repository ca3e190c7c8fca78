"""Import blocks as terraform reads them, and which kinds of resource can be found again."""

from __future__ import annotations

import pytest

from tasks.infra.adopt import FINDERS, import_blocks
from tasks.infra.plan import HOLDS_DATA as DATA
from tests.support.builders import ROOT


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        ("vpc-1", '"vpc-1"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("${file(1)}", '"$${file(1)}"'),
        ("%{if}", '"%%{if}"'),
    ],
)
def test_an_id_is_written_so_that_terraform_reads_it_unchanged(identity: str, written: str) -> None:
    assert (
        import_blocks({"aws_vpc.this": identity}) == f"import {{\n  to = aws_vpc.this\n  id = {written}\n}}\n"
    )


def test_nothing_found_is_no_block() -> None:
    assert import_blocks({}) == ""


def test_every_kind_that_holds_data_in_our_roots_can_be_adopted() -> None:
    text = "".join(file.read_text() for file in (ROOT / "infra/terraform").glob("*/*.tf"))
    used = {kind for kind in DATA if f'resource "{kind}"' in text}
    assert used <= set(FINDERS)
