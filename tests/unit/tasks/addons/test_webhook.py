from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.blocks.webhook import Webhook
from pydantic import SecretStr

from tasks.addons.task import check_webhook, webhook_address
from tasks.records.errors import InputError
from tests.support.builders import an_environment

TOLD = an_environment(alerts={"webhook": True})


def loads(monkeypatch: pytest.MonkeyPatch, found: Any) -> list[str]:
    asked: list[str] = []

    def load(name: str, **_: Any) -> Any:
        asked.append(name)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(Webhook, "load", load)
    return asked


def test_an_address_that_nobody_gave_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    loads(monkeypatch, ValueError("Unable to find block document named slipway-report"))
    with pytest.raises(InputError) as told:
        check_webhook(TOLD)
    assert told.value.next_command == "slipway prefect apply --webhook URL"


def test_the_address_is_the_one_that_reports_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = loads(monkeypatch, SimpleNamespace(url=SecretStr("https://hooks.acme.example/T0")))
    assert webhook_address(TOLD) == "https://hooks.acme.example/T0"
    assert asked == ["slipway-report"]


def test_prefect_is_not_asked_where_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = loads(monkeypatch, ValueError("not there"))
    check_webhook(an_environment())
    assert not asked
