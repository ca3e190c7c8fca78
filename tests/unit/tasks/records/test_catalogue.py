from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.records.catalogue import load_environment, load_model, names, project_root
from tasks.records.errors import InvalidDocument, UnknownName
from tests.support.builders import ROOT

GOOD = """\
    # a comment
    name: tiny
    source:
      repo: acme/tiny
    engine:
      max_model_len: 512
    load:
      rate: 2
    """
Write = Callable[[str, str], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "environments").mkdir()
    return tmp_path


@pytest.fixture
def write(root: Path) -> Write:
    def put(name: str, text: str) -> None:
        (root / "models" / f"{name}.yaml").write_text(textwrap.dedent(text))

    return put


def test_a_good_file_is_loaded_with_its_defaults(root: Path, write: Write) -> None:
    write("tiny", GOOD)
    model = load_model("tiny", root)
    assert (model.name, model.engine.max_model_len, model.engine.dtype) == ("tiny", 512, "auto")


@pytest.mark.parametrize("asked", ["tiy", "Tiny", "tinny"])
def test_an_unknown_name_is_answered_with_the_nearest(root: Path, write: Write, asked: str) -> None:
    write("tiny", GOOD)
    write("llama", GOOD)
    with pytest.raises(UnknownName, match="did you mean tiny") as caught:
        load_model(asked, root)
    assert caught.value.evidence == ("models/ has: llama, tiny",)


def test_a_name_like_no_other_is_answered_without_a_guess(root: Path, write: Write) -> None:
    write("tiny", GOOD)
    with pytest.raises(UnknownName) as caught:
        load_model("qwertz", root)
    assert "did you mean" not in caught.value.cause


def test_an_empty_catalogue_says_so(root: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        load_environment("staging", root)
    assert caught.value.evidence == ("environments/ has: nothing",)


@pytest.mark.parametrize(
    "asked", ["../secret", "models/../tiny", "/etc/passwd", "tiny.yaml", "", ".", "tiny/", "tiny\x00"]
)
def test_a_path_is_not_a_name(root: Path, write: Write, asked: str) -> None:
    write("tiny", GOOD)
    (root / "secret.yaml").write_text(textwrap.dedent(GOOD))
    with pytest.raises(UnknownName):
        load_model(asked, root)


def test_a_file_is_called_by_its_name(root: Path, write: Write) -> None:
    write("other", GOOD)
    with pytest.raises(InvalidDocument, match=r"models/other\.yaml says name: tiny"):
        load_model("other", root)


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("max_model_len: 512", "max_model_len: lots"), 6, "engine.max_model_len"),
        (("max_model_len: 512", "max_model_len: -1"), 6, "greater than 0"),
        (("max_model_len: 512", "max_model_length: 512"), 6, "did you mean max_model_len"),
        (("max_model_len: 512", "wings: 2"), 6, "engine.wings: unknown key"),
        (("repo: acme/tiny", "repo: tiny"), 4, "source.repo"),
        (("rate: 2", "rate: 2\n      window: soon"), 9, "not a duration"),
        (("rate: 2", "rate: 0"), 8, "load.rate"),
        (("repo: acme/tiny", "repo: acme/tiny\n      allow: [a, [b]]"), 5, "source.allow.1"),
        (("# a comment", "naem: x"), 1, "did you mean name"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(
    root: Path, write: Write, change: tuple[str, str], line: int, says: str
) -> None:
    write("tiny", GOOD.replace(*change))
    with pytest.raises(InvalidDocument) as caught:
        load_model("tiny", root)
    assert caught.value.cause.startswith(f"models/tiny.yaml:{line}: ")
    assert says in caught.value.cause


def test_a_missing_block_is_named_where_it_should_be(root: Path, write: Write) -> None:
    write("tiny", "name: tiny\nload: {rate: 1}\n")
    with pytest.raises(InvalidDocument, match=r"models/tiny\.yaml:\d+: source: Field required"):
        load_model("tiny", root)


def test_every_wrong_entry_is_told_at_once(root: Path, write: Write) -> None:
    write("tiny", GOOD.replace("rate: 2", "rate: x").replace("512", "y"))
    with pytest.raises(InvalidDocument) as caught:
        load_model("tiny", root)
    assert [line.split(": ")[0] for line in (caught.value.cause, *caught.value.evidence)] == [
        "models/tiny.yaml:6",
        "models/tiny.yaml:8",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: tiny\nsource: {repo: [\n", 3),
        ("name: a: b\n", 1),
        ("a: 1\n---\na: 2\n", 2),
        ("a:\n\tb: 1\n", 2),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(root: Path, write: Write, text: str, line: int) -> None:
    write("tiny", text)
    with pytest.raises(InvalidDocument, match=rf"models/tiny\.yaml:{line}: not YAML"):
        load_model("tiny", root)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_an_input_error(root: Path, write: Write, text: str) -> None:
    write("tiny", text)
    with pytest.raises(InvalidDocument, match=r"models/tiny\.yaml:1: document"):
        load_model("tiny", root)


def test_a_file_that_is_no_text_is_an_input_error(root: Path) -> None:
    (root / "models" / "tiny.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(InvalidDocument, match=r"models/tiny\.yaml"):
        load_model("tiny", root)


def test_no_yaml_tag_runs_code(root: Path, write: Write) -> None:
    write("tiny", "name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InvalidDocument, match="not YAML"):
        load_model("tiny", root)


@pytest.mark.parametrize("kind", ["models", "environments"])
def test_every_file_of_the_project_loads(kind: str) -> None:
    load = load_model if kind == "models" else load_environment
    assert [load(name, ROOT).name for name in names(kind, ROOT)] == names(kind, ROOT)


def test_the_project_is_found_from_a_folder_inside_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    monkeypatch.chdir(root / "deep" / "er")
    assert project_root() == root


def test_a_given_home_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    with pytest.raises(UnknownName, match="no Slipway project"):
        project_root()
