"""Options of the command line, from signatures like those of the flows."""

from __future__ import annotations

from ast import literal_eval
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import Field

from flows.run.choices import EnvironmentName, ModelName, Revision
from flows.run.options import parameters_of


def a_flow(
    model: ModelName,
    environment: EnvironmentName,
    revision: Revision = None,
    source: str | None = Field(None, description="where it was proven"),
    keep: Literal["keep", "delete"] = Field("keep", description="what stays"),
    minutes: float = Field(30.0, gt=0, le=600, description="how long"),
    seconds: Annotated[float, Field(ge=2, description="each")] = 60.0,
    unfinished: bool = Field(False, description="only then"),
    may_destroy: list[str] = Field([], description="what may go"),
) -> None: ...


@pytest.fixture
def parsed() -> Any:
    """What a command with these options is given for a line of words, or the error it ends with."""
    command = click.Command(
        "a-flow", params=parameters_of(a_flow), callback=lambda **given: click.echo(repr(given))
    )

    def parse(words: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, words.split())
        return done.exit_code, done.output

    return parse


DEFAULTS = {
    "model": "m",
    "environment": "e",
    "revision": None,
    "source": None,
    "keep": "keep",
    "minutes": 30.0,
    "seconds": 60.0,
    "unfinished": False,
    "may_destroy": (),
}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("m -e e", {}),
        ("m --environment e", {}),
        ("-e e m", {}),
        ("m -e e --revision v2 --from staging", {"revision": "v2", "source": "staging"}),
        ("m -e e --keep delete --unfinished", {"keep": "delete", "unfinished": True}),
        ("m -e e --minutes 0.5 --seconds 2", {"minutes": 0.5, "seconds": 2.0}),
        ("m -e e --may-destroy a --may-destroy b", {"may_destroy": ("a", "b")}),
    ],
)
def test_what_is_typed_is_what_the_flow_gets(parsed: Any, words: str, given: dict[str, Any]) -> None:
    code, output = parsed(words)
    assert code == 0, output
    assert literal_eval(output) == {**DEFAULTS, **given}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("m", "Missing option '-e'"),
        ("-e e", "Missing argument 'MODEL'"),
        ("m -e e --keep maybe", "is not one of 'keep', 'delete'"),
        ("m -e e --minutes 0", "0<x<=600"),
        ("m -e e --minutes 601", "0<x<=600"),
        ("m -e e --seconds 1.9", "x>=2"),
        ("m -e e --source staging", "No such option"),
        ("m -e e more", "unexpected extra argument"),
    ],
)
def test_what_the_flow_would_refuse_is_refused_with_its_range(parsed: Any, words: str, said: str) -> None:
    code, output = parsed(words)
    assert code == 2
    assert said in output


def test_help_is_what_the_fields_say(parsed: Any) -> None:
    _, output = parsed("--help")
    told = " ".join(output.split())
    for text in (
        "a file of environments/, by its name [required]",
        "branch, tag or commit instead of the one in the model's file",
        "how long [default: 30.0; 0<x<=600]",
        "[keep|delete] what stays [default: keep]",
        "--unfinished only then --may-destroy",
    ):
        assert text in told


def both(source: str = "a", measure_from: Literal["cluster", "here"] = "cluster") -> None: ...


def one(measure_from: Literal["cluster", "here"] = "cluster") -> None: ...


@pytest.mark.parametrize(
    ("flow", "options"),
    [
        (both, {"source": ["--from"], "measure_from": ["--measure-from"]}),
        (one, {"measure_from": ["--from", "--measure-from"]}),
    ],
)
def test_from_is_the_source_of_a_promotion_and_elsewhere_where_is_measured(
    flow: Any, options: dict[str, list[str]]
) -> None:
    assert {str(one.name): one.opts for one in parameters_of(flow)} == options
