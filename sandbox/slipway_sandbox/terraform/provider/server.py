"""go-plugin's side of a provider process: the handshake on stdout, TLS on a unix socket, gRPC."""

from __future__ import annotations

import base64
import datetime
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from slipway_sandbox.terraform.provider import wire
from slipway_sandbox.terraform.provider.servicer import Provider

# go-plugin's check that Terraform, not a person, started this process; public, the same for every provider
MAGIC_COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
PROTOCOL = 6
WORKERS = 16  # Terraform walks ten resources at a time by default
MESSAGE_BYTES = 64 << 20


def snake(method: str) -> str:
    """GetProviderSchema -> get_provider_schema"""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def _handler(method: str, answer: Callable[[Any], Any]) -> Any:
    request, response = wire.message(f"{method}.Request"), wire.message(f"{method}.Response")

    def call(message: Any, context: Any) -> Any:
        try:
            return answer(message)
        except Exception as error:  # noqa: BLE001 - a defect of this provider: shown by Terraform, with the traceback in its log
            traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.INTERNAL, f"{method}: {type(error).__name__}: {error}")

    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )


def _plugin_services(done: threading.Event) -> list[Any]:
    """go-plugin's own two services: Shutdown ends the process, StreamStdio (unused) stays open until then."""

    def shutdown(_request: bytes, _context: Any) -> bytes:
        threading.Timer(0.02, done.set).start()  # after the answer is out
        return b""

    def stdio(_request: bytes, _context: Any) -> Any:
        done.wait()
        return iter(())

    return [
        grpc.method_handlers_generic_handler(
            "plugin.GRPCController", {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)}
        ),
        grpc.method_handlers_generic_handler(
            "plugin.GRPCStdio", {"StreamStdio": grpc.unary_stream_rpc_method_handler(stdio)}
        ),
    ]


def certificate() -> tuple[bytes, bytes, bytes]:
    """A self-signed P-256 certificate for one process's life: (key PEM, certificate PEM, certificate DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding
    return (
        key.private_bytes(encoding.PEM, pem, serialization.NoEncryption()),
        signed.public_bytes(encoding.PEM),
        signed.public_bytes(encoding.DER),
    )


def orphaned() -> Callable[[], bool]:
    """Whether the process that is this one's parent now is gone."""
    parent = os.getppid()
    return lambda: os.getppid() != parent


def serve(provider: Provider, alone: Callable[[], bool]) -> None:
    """Run as a provider until Terraform ends it, or `alone` says that it was killed.

    Raises SystemExit when Terraform did not start this process.
    """
    if os.environ.get("TF_PLUGIN_MAGIC_COOKIE") != MAGIC_COOKIE:
        sys.exit("This is a provider plugin: Terraform starts it.")
    # Ctrl-C reaches the whole process group; Terraform itself tells a provider to stop (go-plugin eats it too)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sizes = [
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS), options=sizes)
    done = threading.Event()
    methods = {method: _handler(method, getattr(provider, snake(method))) for method in wire.METHODS}
    handlers = [grpc.method_handlers_generic_handler(wire.SERVICE, methods), *_plugin_services(done)]
    server.add_generic_rpc_handlers(tuple(handlers))
    folder = Path(tempfile.mkdtemp(prefix="tf-aws-"))  # mode 0700: this guards the socket, see below
    try:
        public = _listen(server, folder / "s")
        server.start()
        sys.stdout.write(f"1|{PROTOCOL}|unix|{folder / 's'}|grpc|{public}\n")
        sys.stdout.flush()
        while not done.wait(timeout=1.0):
            if alone():  # nobody is left to say Shutdown
                done.set()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    server.stop(grace=0.1).wait(timeout=1.0)
    sys.stderr.flush()
    os._exit(0)  # else Python waits for calls that are still being answered, for a cluster to come up say


def _listen(server: grpc.Server, socket: Path) -> str:
    """Bind, and return the certificate for the handshake line ("" where the client wants no TLS).

    The client's certificate is not asked for: go-plugin makes it on P-521, which gRPC's BoringSSL does not offer. Who may
    connect is decided by the folder's mode instead.
    """
    address = f"unix://{socket}"
    if not os.environ.get("PLUGIN_CLIENT_CERT"):
        server.add_insecure_port(address)
        return ""
    key, pem, der = certificate()
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, pem)]))
    return base64.b64encode(der).decode().rstrip("=")
