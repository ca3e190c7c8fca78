"""Prometheus's HTTP API. https://prometheus.io/docs/prometheus/latest/querying/api/"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from aiohttp import web
from multidict import MultiMapping
from promql_parser import Expr, MatrixSelector

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.prometheus import evaluate
from slipway_sandbox.images.prometheus.promql import ParseError, parse
from slipway_sandbox.images.prometheus.storage import Storage

VERSION = "3.5.0"
_FORM_LIMIT = 1 << 20


class Refused(Exception):
    """An error answer: `kind` is bad_data, execution or unavailable."""

    STATUS = {"bad_data": 400, "execution": 422, "unavailable": 503}  # noqa: RUF012

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Api:
    """The API's handlers over `storage`. `clock` returns seconds since 1970."""

    def __init__(self, storage: Storage, faults: Faults, clock: Callable[[], float]) -> None:
        self._storage, self._faults, self._clock = storage, faults, clock

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors], client_max_size=_FORM_LIMIT)
        app.router.add_get("/-/healthy", _say("Prometheus Server is Healthy.\n"))
        app.router.add_get("/-/ready", _say("Prometheus Server is Ready.\n"))
        app.router.add_get("/api/v1/query", self._query)
        app.router.add_post("/api/v1/query", self._query)
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        try:
            if request.path.startswith("/api/") and self._faults.hit("metrics-down", request.path):
                raise Refused("unavailable", "TSDB not ready")
            answer: web.StreamResponse = await handler(request)
        except Refused as refused:
            return _failure(refused.kind, str(refused))
        except ParseError as error:
            return _failure("bad_data", f'invalid parameter "query": {error}')
        except evaluate.QueryError as error:
            return _failure("execution", str(error))
        return answer

    def _data(self, request: web.Request) -> Storage:
        return Storage() if self._faults.hit("metrics-empty", request.path) else self._storage

    async def _query(self, request: web.Request) -> web.Response:
        form = await _parameters(request)
        time = _time(form["time"]) if form.get("time") else self._clock()
        node = parse(form.get("query", ""))
        value = evaluate.instant(self._data(request), node, time)
        return _success(_rendered(node, value, time))


def _say(text: str) -> Callable[[web.Request], Any]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


async def _parameters(request: web.Request) -> MultiMapping[str]:
    if request.method != "POST":
        return request.query
    form = (await request.post()).copy()
    form.extend(request.query)
    return cast("MultiMapping[str]", form)


def _time(text: str) -> float:
    """Parse a time parameter: Unix seconds. Raises Refused."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise Refused("bad_data", f'invalid parameter "time": cannot parse "{text}" to a valid timestamp')
    return seconds


def _rendered(node: Expr, value: evaluate.Value, time: float) -> dict[str, Any]:
    if isinstance(value, float):
        return {"resultType": "scalar", "result": [_stamp(time), number(value)]}
    if isinstance(node, MatrixSelector):
        windows = cast(list[evaluate.Window], value)
        matrix = [{"metric": dict(window.labels), "values": _values(window.samples)} for window in windows]
        return {"resultType": "matrix", "result": matrix}
    points = cast(evaluate.Vector, value)
    vector = [{"metric": dict(p.labels), "value": [_stamp(time), number(p.value)]} for p in points]
    return {"resultType": "vector", "result": vector}


def number(value: float) -> str:
    """Format a sample's value as Prometheus does, without an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _stamp(time: float) -> float:
    return round(time, 3)


def _values(samples: Iterable[tuple[float, float]]) -> list[list[Any]]:
    return [[_stamp(time), number(value)] for time, value in samples]


def _success(data: Any) -> web.Response:
    return web.json_response({"status": "success", "data": data}, dumps=_dumps)


def _failure(kind: str, message: str) -> web.Response:
    body: Mapping[str, str] = {"status": "error", "errorType": kind, "error": message}
    return web.json_response(body, status=Refused.STATUS[kind], dumps=_dumps)


def _dumps(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
