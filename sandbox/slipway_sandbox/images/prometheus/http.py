"""Prometheus's HTTP API. https://prometheus.io/docs/prometheus/latest/querying/api/"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from aiohttp import web
from multidict import MultiMapping
from promql_parser import Expr, VectorSelector

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.prometheus import evaluate
from slipway_sandbox.images.prometheus.promql import (
    RANGE,
    STRING,
    ParseError,
    duration_seconds,
    matchers_of,
    parse,
    type_of,
)
from slipway_sandbox.images.prometheus.scrape import Scraper, State
from slipway_sandbox.images.prometheus.storage import Matcher, Series, Storage, is_stale

VERSION = "3.5.0"
_POINTS_LIMIT = 11_000
_FORM_LIMIT = 1 << 20


class Refused(Exception):
    """An error answer: `kind` is bad_data, execution, unavailable or not_found."""

    STATUS = {"bad_data": 400, "execution": 422, "unavailable": 503, "not_found": 404}  # noqa: RUF012

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Api:
    """The API's handlers over `storage` and `scraper`. `clock` returns seconds since 1970."""

    def __init__(
        self, storage: Storage, scraper: Scraper, faults: Faults, clock: Callable[[], float]
    ) -> None:
        self._storage, self._scraper, self._faults, self._clock = storage, scraper, faults, clock
        self._started = clock()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors], client_max_size=_FORM_LIMIT)
        app.router.add_get("/-/healthy", _say("Prometheus Server is Healthy.\n"))
        app.router.add_get("/-/ready", _say("Prometheus Server is Ready.\n"))
        for path, handler in (
            ("query", self._query),
            ("query_range", self._query_range),
            ("series", self._series),
            ("labels", self._labels),
        ):
            app.router.add_get(f"/api/v1/{path}", handler)
            app.router.add_post(f"/api/v1/{path}", handler)
        app.router.add_get("/api/v1/label/{name}/values", self._label_values)
        app.router.add_get("/api/v1/targets", self._targets)
        app.router.add_get("/api/v1/status/buildinfo", self._buildinfo)
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
        time = _time(form, "time", self._clock())
        node = parse(form.get("query", ""))
        value = evaluate.instant(self._data(request), node, time)
        return _success(_rendered(node, value, time))

    async def _query_range(self, request: web.Request) -> web.Response:
        form = await _parameters(request)
        start, end = _time(form, "start", None), _time(form, "end", None)
        step = _step(form.get("step", ""))
        if end < start:
            raise Refused("bad_data", 'invalid parameter "end": end timestamp must not be before start time')
        if (end - start) / step > _POINTS_LIMIT:
            message = (
                "exceeded maximum resolution of 11,000 points per timeseries."
                " Try decreasing the query resolution (?step=XX)"
            )
            raise Refused("bad_data", message)
        node = parse(form.get("query", ""))
        if type_of(node) in (RANGE, STRING):
            message = (
                f'invalid expression type "{type_of(node)}" for range query, must be Scalar or instant Vector'
            )
            raise Refused("bad_data", f'invalid parameter "query": {message}')
        found = evaluate.over_range(self._data(request), node, start, end, step)
        matrix = [{"metric": dict(labels), "values": _values(samples)} for labels, samples in found]
        return _success({"resultType": "matrix", "result": matrix})

    async def _matching(self, request: web.Request, required: bool) -> list[Series]:
        form = await _parameters(request)
        texts = form.getall("match[]", [])
        if required and not texts:
            raise Refused("bad_data", "no match[] parameter provided")
        start, end = _time(form, "start", -math.inf), _time(form, "end", math.inf)
        data = self._data(request)
        found: dict[int, Series] = {}
        for matchers in [_selector(text) for text in texts] or [()]:
            for series in data.select(matchers):
                if any(start <= t <= end and not is_stale(v) for t, v in _samples(series)):
                    found[id(series)] = series
        return list(found.values())

    async def _series(self, request: web.Request) -> web.Response:
        found = await self._matching(request, required=True)
        return _success([dict(series.labels) for series in found])

    async def _labels(self, request: web.Request) -> web.Response:
        found = await self._matching(request, required=False)
        return _success(sorted({name for series in found for name in series.labels}))

    async def _label_values(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = await self._matching(request, required=False)
        return _success(sorted({series.labels[name] for series in found if name in series.labels}))

    async def _targets(self, request: web.Request) -> web.Response:
        wanted = request.query.get("state", "any")
        active = [_described(state) for state in self._scraper.states.values()] if wanted != "dropped" else []
        return _success({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}})

    async def _buildinfo(self, _request: web.Request) -> web.Response:
        info = {"version": VERSION, "revision": "sandbox", "branch": "HEAD", "buildUser": "", "buildDate": ""}
        return _success(info | {"goVersion": ""})


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


def _selector(text: str) -> Sequence[Matcher]:
    try:
        node = parse(text)
    except ParseError as error:
        raise Refused("bad_data", f'invalid parameter "match[]": {error}') from error
    if not isinstance(node, VectorSelector):
        raise Refused("bad_data", f'invalid parameter "match[]": {text!r} is not a series selector')
    return matchers_of(node)


def _time(form: MultiMapping[str], name: str, default: float | None) -> float:
    """Parse a time parameter: Unix seconds or RFC 3339."""
    text = form.get(name, "")
    if not text and default is not None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
        except ValueError:
            seconds = math.nan
    if not math.isfinite(seconds):
        raise Refused("bad_data", f'invalid parameter "{name}": cannot parse "{text}" to a valid timestamp')
    return seconds


def _step(text: str) -> float:
    try:
        step = float(text)
    except ValueError:
        try:
            step = duration_seconds(text)
        except ValueError:
            step = math.nan
    if not math.isfinite(step):
        raise Refused("bad_data", f'invalid parameter "step": cannot parse "{text}" to a valid duration')
    if step <= 0:
        message = "zero or negative query resolution step widths are not accepted. Try a positive integer"
        raise Refused("bad_data", f'invalid parameter "step": {message}')
    return step


def _rendered(node: Expr, value: evaluate.Value, time: float) -> dict[str, Any]:
    if isinstance(value, float):
        return {"resultType": "scalar", "result": [_stamp(time), number(value)]}
    if isinstance(value, str):
        return {"resultType": "string", "result": [_stamp(time), value]}
    if type_of(node) == RANGE:
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


def _samples(series: Series) -> Iterable[tuple[float, float]]:
    return zip(series.times, series.values, strict=True)


def _described(state: State) -> dict[str, Any]:
    target = state.target
    moment = datetime.fromtimestamp(state.last_scrape, UTC).isoformat().replace("+00:00", "Z")
    return {
        "discoveredLabels": dict(target.discovered),
        "labels": dict(target.labels),
        "scrapePool": target.pool,
        "scrapeUrl": target.url,
        "globalUrl": target.url,
        "lastError": state.error,
        "lastScrape": moment if state.last_scrape else "0001-01-01T00:00:00Z",
        "lastScrapeDuration": state.duration,
        "health": state.health,
        "scrapeInterval": f"{target.interval:g}s",
        "scrapeTimeout": f"{target.timeout:g}s",
    }


def _success(data: Any) -> web.Response:
    return web.json_response({"status": "success", "data": data}, dumps=_dumps)


def _failure(kind: str, message: str) -> web.Response:
    body: Mapping[str, str] = {"status": "error", "errorType": kind, "error": message}
    return web.json_response(body, status=Refused.STATUS[kind], dumps=_dumps)


def _dumps(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
