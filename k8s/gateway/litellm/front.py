"""ASGI application of the gateway with LiteLLM: LiteLLM's own, behind the paths that Slipway serves, and the gateway's metrics.

    python -m uvicorn front:app

It serves every path that LiteLLM has to no one: its pages, its management of keys and its list of addresses stay closed.
Who may ask what is decided in auth.py, which LiteLLM calls.
"""

import json
import os
import time
from pathlib import Path

from litellm.proxy.proxy_server import app as litellm
from prometheus_client import Counter, Histogram, start_http_server

SERVED = {
    "/v1/models": ("GET", "HEAD"),  # and no model by itself: LiteLLM describes one to its administrator only
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"), ("POST",)),
}
MODELS = frozenset(json.loads((Path(__file__).parent / "models.json").read_text())["models"].values())
LARGEST_BODY = (
    16 * 2**20
)  # as NGINX's client_max_body_size; LiteLLM has a limit of its own with a licence only
# of LiteLLM's answers: addresses of pods, prices and hashes of keys
HIDDEN = (b"x-litellm-", b"llm_provider-")

# the names, labels and bounds of k8s/gateway/metrics.js: alerts, dashboards and status read both alike
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
REQUESTS = Counter(
    "slipway_gateway_requests",
    "Requests that ended, by model, name of the API key and status.",
    ["model", "key", "code"],
)
SECONDS = Histogram(
    "slipway_gateway_request_seconds",
    "From the first byte of a request to the last byte of its answer.",
    ["model"],
    buckets=BOUNDS,
)
FIRST_BYTE = Histogram(
    "slipway_gateway_first_byte_seconds",
    "From the first byte of a request to the head of its answer.",
    ["model"],
    buckets=BOUNDS,
)


class Exchange:
    """One request: what auth.py learns of it in `seen`, and when its answer began with which status."""

    def __init__(self, scope):
        self.began, self.head, self.status, self.received = time.perf_counter(), None, 499, 0
        self.seen = scope["slipway"] = {"key": "-", "model": path_of(scope)[0]}

    def answered(self, message):
        """Note the head of the answer; the message without what is hidden."""
        if message["type"] != "http.response.start":
            return message
        self.head, self.status = time.perf_counter(), message["status"]
        headers = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(HIDDEN)]
        return {**message, "headers": headers}

    def heard(self, message):
        """The message; the client's departure in place of what is more than a body may have."""
        self.received += len(message.get("body", b""))
        return message if self.received <= LARGEST_BODY else {"type": "http.disconnect"}

    def failed(self):
        """An exception that LiteLLM let through: uvicorn answers 500, where nothing was answered yet."""
        if self.head is None:
            self.status = 500

    def count(self):
        model = self.seen["model"]
        REQUESTS.labels(model, self.seen["key"], str(self.status)).inc()
        if model:
            SECONDS.labels(model).observe(time.perf_counter() - self.began)
            if self.head is not None:
                FIRST_BYTE.labels(model).observe(self.head - self.began)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        start_http_server(9113, addr=os.environ["LISTEN"])
        await litellm(scope, receive, send)
    elif scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
    elif scope["path"] == "/healthz":
        await answer(send, 200, b"ok\n", b"text/plain")
    else:
        await counted(scope, receive, send)


async def counted(scope, receive, send):
    """Pass a request on to LiteLLM, where it is of a path that is served, and count it."""
    exchange = Exchange(scope)

    async def heard():
        return exchange.heard(await receive())

    async def answered(message):
        await send(exchange.answered(message))

    try:
        if scope["method"] not in SERVED.get(path_of(scope)[1], ()):
            await answer(answered, 404, error("There is no such path.", None))
        elif length_of(scope) > LARGEST_BODY:
            await answer(answered, 413, error(f"A body may have {LARGEST_BODY} bytes.", None))
        else:
            await litellm(scope, heard, answered)
    except Exception:
        exchange.failed()
        raise
    finally:
        exchange.count()


def path_of(scope):
    """The model of a path /NAME/v1/…, or "", and the path below it."""
    first, slash, rest = scope["path"][1:].partition("/")
    return (first, slash + rest) if first in MODELS else ("", scope["path"])


def length_of(scope):
    """The body's length as its header says; 0 where it comes in chunks, which are counted as they come."""
    given = dict(scope["headers"]).get(b"content-length", b"0")
    return int(given) if given.isdigit() else 0


def error(message, code):
    """The body of an error, as OpenAI's API writes it."""
    said = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json.dumps({"error": said}).encode()


async def answer(send, status, body, kind=b"application/json"):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
