from __future__ import annotations

import pytest

from tasks.records.errors import InputError
from tests.support.builders import an_environment


def test_a_shell_without_a_required_variable_is_told_the_command_that_sets_it() -> None:
    environment = an_environment(requires={"AWS_PROFILE": "aws sso login"})
    with pytest.raises(InputError) as caught:
        environment.check_variables({"AWS_PROFILE": ""})
    assert caught.value.next_command == "aws sso login"


def test_a_shell_that_has_them_and_environments_that_need_none_are_let_through() -> None:
    an_environment(requires={"AWS_PROFILE": "aws sso login"}).check_variables({"AWS_PROFILE": "staging"})
    an_environment().check_variables({})
