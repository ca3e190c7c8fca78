"""Questions over TLS to a load balancer that the domain does not lead to yet, and the gate's check of that way."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud.plain_http import UNREACHABLE, Way, ask
from tasks.cloud.waiting import Time
from tasks.records.errors import RolloutFailed
from tasks.rollout.endpoint_check import GatewayUnreached, check_endpoint
from tests.support.certificates import Issued, issued
from tests.support.clock import Clock

DOMAIN, KEY = "models.example.test", "sk-test"
TLS_HANDSHAKE = b"\x16"


class Handler(BaseHTTPRequestHandler):
    """A model behind a gateway, which wants the key."""

    def do_GET(self) -> None:
        shut = self.headers.get("Authorization") != f"Bearer {KEY}"
        self.say(401 if shut else 200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(200, {"choices": [{"message": {"content": "Hi"}, "finish_reason": "length"}]})

    def say(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Door(ThreadingHTTPServer):
    """Speaks TLS on its port; where it is `ajar`, plain HTTP too."""

    daemon_threads = True

    def __init__(self, pem: Path, *, ajar: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.context, self.ajar = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ajar
        self.context.load_cert_chain(pem)

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = self.socket.accept()
        accepted.settimeout(5.0)
        if self.ajar and accepted.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE:
            return accepted, address
        return self.context.wrap_socket(accepted, server_side=True), address


@pytest.fixture
def certificate() -> Issued:
    return issued(DOMAIN)


@pytest.fixture(params=[False])
def door(tmp_path: Path, certificate: Issued, request: pytest.FixtureRequest) -> Iterator[Door]:
    pem = tmp_path / "server.pem"
    pem.write_text(certificate.key + certificate.certificate)
    server = Door(pem, ajar=request.param)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(door: Door, name: str = DOMAIN) -> str:
    return f"https://{name}:{door.server_port}/tiny/v1"


def check(door: Door, way: Way) -> str:
    clock = Clock()
    return check_endpoint(url(door), KEY, "tiny", patience=1.0, way=way, time=Time(clock, clock.sleep))


def test_the_certificate_is_verified_for_the_domain_wherever_the_connection_goes(
    door: Door, certificate: Issued
) -> None:
    way = Way("127.0.0.1", certificate.authority)
    assert ask(f"{url(door)}/models", way=way).status == 401
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        ask(f"{url(door, 'other.example.test')}/models", way=way)


@pytest.mark.parametrize("other", ["", issued(DOMAIN).authority], ids=["public", "another"])
def test_who_trusts_another_authority_does_not_ask(door: Door, other: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(f"{url(door)}/models", way=Way("127.0.0.1", other))
    with pytest.raises(GatewayUnreached) as caught:
        check(door, Way("127.0.0.1", other))
    assert "certificate verify failed" in caught.value.evidence[0]


def test_the_gate_is_passed_over_tls_and_plain_http_gets_no_answer(door: Door, certificate: Issued) -> None:
    assert "Hi" in check(door, Way("127.0.0.1", certificate.authority))
    with pytest.raises(UNREACHABLE):
        ask(f"http://127.0.0.1:{door.server_port}/tiny/v1/models")


@pytest.mark.parametrize("door", [True], indirect=True)
def test_a_load_balancer_that_answers_plain_http_too_does_not_pass_the_gate(
    door: Door, certificate: Issued
) -> None:
    with pytest.raises(RolloutFailed, match="answers plain HTTP: 401"):
        check(door, Way("127.0.0.1", certificate.authority))
