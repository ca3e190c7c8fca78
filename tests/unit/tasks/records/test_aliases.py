from __future__ import annotations

import pytest

from tasks.records.aliases import aliases_of, check_aliases
from tasks.records.errors import InputError
from tasks.records.model import Model
from tests.support.builders import a_model, an_environment

FAST = a_model(name="small", aliases=["fast", "default"])
BIG = a_model(name="big", aliases=["Org/Big"])


def adapted(name: str) -> Model:
    return a_model(name="small", engine={"lora": [{"name": name, "repo": "acme/adapter"}]})


def test_a_model_has_the_aliases_of_its_file_and_of_the_environment() -> None:
    where = an_environment(gateway={"aliases": {"gpt-4o": "big"}})
    assert aliases_of(FAST, where) == ["default", "fast"]
    assert aliases_of(BIG, where) == ["Org/Big", "gpt-4o"]
    check_aliases([FAST, BIG], where)


def test_the_environment_gives_an_alias_to_another_model() -> None:
    where = an_environment(gateway={"aliases": {"default": "big"}})
    assert (aliases_of(FAST, where), aliases_of(BIG, where)) == (["fast"], ["Org/Big", "default"])
    check_aliases([FAST, BIG], where)


@pytest.mark.parametrize(
    ("models", "given", "match"),
    [
        (
            [FAST, a_model(name="other", aliases=["fast"])],
            {},
            "fast is an alias of two models: small and other",
        ),
        ([FAST, a_model(name="fast")], {}, "fast is an alias of small and the name of a model"),
        ([FAST, BIG], {"big": "small"}, "big is an alias of small and the name of a model"),
        ([BIG, adapted("big")], {}, "big is an adapter of small and a name of big"),
        (
            [adapted("x"), a_model(name="other", aliases=["x"])],
            {},
            "x is an adapter of small and a name of other",
        ),
        ([FAST], {"gpt-4o": "big"}, "gives gpt-4o to big, and there is no such model"),
    ],
)
def test_an_alias_that_leads_to_two_models_or_none_is_refused(
    models: list[object], given: dict[str, str], match: str
) -> None:
    with pytest.raises(InputError, match=match) as caught:
        check_aliases(models, an_environment(gateway={"aliases": given}))  # type: ignore[arg-type]
    assert caught.value.next_command


@pytest.mark.parametrize("alias", ["", "a b", 'a"b', "/etc", "x" * 97])
def test_an_alias_that_no_request_should_carry_is_refused(alias: str) -> None:
    with pytest.raises(ValueError, match="aliases"):
        a_model(aliases=[alias])
