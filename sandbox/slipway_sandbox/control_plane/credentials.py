"""What a kubeconfig says of one API server: where it is, whom to trust, who we are.

Format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/. Certificates, keys and tokens, in the file or
beside it; no exec plugins, no passwords, and a server is never taken on trust.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

PATIENCE = 10.0  # seconds for the server to say its version
REFUSED = ("exec", "auth-provider", "username", "password")


class KubeconfigError(Exception):
    """The file does not lead to a control plane; the text says why."""


@dataclass(frozen=True)
class Credentials:
    """`server` is the API server's URL; `token` may be None where a client certificate says who we are."""

    server: str
    authority_pem: str
    token: str | None
    certificate_pem: str | None
    key_pem: str | None

    def trust(self) -> ssl.SSLContext:
        """A client's TLS context that verifies the server and carries our certificate."""
        context = ssl.create_default_context(cadata=self.authority_pem)
        if self.certificate_pem and self.key_pem:
            # The ssl module reads them from files only; the folder is ours alone and gone at once.
            with tempfile.TemporaryDirectory() as folder:
                pair = Path(folder) / "client.pem"
                pair.touch(mode=0o600)
                pair.write_text(self.key_pem + "\n" + self.certificate_pem)
                context.load_cert_chain(pair)
        return context

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def read(file: Path) -> Credentials:
    """The current context's server and credentials. Raises KubeconfigError."""
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file} cannot be read as a kubeconfig: {error}") from error
    if not isinstance(document, dict) or not document.get("current-context"):
        raise KubeconfigError(f"{file} has no current-context; `kubectl config use-context NAME` sets it")
    context = _named(file, document, "contexts", document["current-context"], "context")
    cluster = _named(file, document, "clusters", context.get("cluster"), "cluster")
    user = _named(file, document, "users", context.get("user"), "user")
    if refused := [key for key in REFUSED if user.get(key)]:
        raise KubeconfigError(f"{file}: {refused[0]} is not supported; give a client certificate or a token")
    if cluster.get("insecure-skip-tls-verify"):
        raise KubeconfigError(f"{file}: insecure-skip-tls-verify is not supported; give the server's CA")
    server = str(cluster.get("server", ""))
    if not server.startswith("https://"):
        raise KubeconfigError(f"{file}: the server {server!r} is not an https address")
    found = Credentials(
        server=server.rstrip("/"),
        authority_pem=_pem(file, cluster, "certificate-authority") or "",
        token=_token(file, user),
        certificate_pem=_pem(file, user, "client-certificate"),
        key_pem=_pem(file, user, "client-key"),
    )
    if not found.authority_pem:
        raise KubeconfigError(f"{file}: cluster {context['cluster']} has no certificate-authority")
    if not found.token and not (found.certificate_pem and found.key_pem):
        raise KubeconfigError(
            f"{file}: user {context.get('user')} has neither a client certificate nor a token"
        )
    return found


def check(found: Credentials) -> str:
    """The server's version, said to these credentials. Raises KubeconfigError where it does not answer as one."""
    address = urlsplit(found.server)
    try:
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port or 443, timeout=PATIENCE, context=found.trust()
        )
        try:
            # /version is open to everybody: a list says whether we are somebody
            version = _ask(connection, f"{address.path}/version", found)
            _ask(connection, f"{address.path}/api/v1/nodes?limit=1", found)
        finally:
            connection.close()
        return str(version["gitVersion"])
    except (OSError, ssl.SSLError, http.client.HTTPException, ValueError, KeyError) as error:
        raise KubeconfigError(f"{found.server} does not answer as a Kubernetes API: {error}") from error


def _ask(connection: http.client.HTTPSConnection, path: str, found: Credentials) -> dict[str, Any]:
    connection.request("GET", path, headers=found.headers())
    answer = connection.getresponse()
    body = answer.read(1 << 20)
    if answer.status != 200:
        raise KubeconfigError(f"{found.server}{path} answers {answer.status}: {body[:200]!r}")
    document: dict[str, Any] = json.loads(body)
    return document


def _named(file: Path, document: dict[str, Any], plural: str, name: Any, key: str) -> dict[str, Any]:
    for entry in document.get(plural) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            inner: dict[str, Any] = entry.get(key) or {}
            return inner
    raise KubeconfigError(f"{file} has no {key} called {name!r}")


def _pem(file: Path, section: dict[str, Any], key: str) -> str | None:
    """Inline as base64 under KEY-data, else the file KEY names, relative to the kubeconfig."""
    if inline := section.get(f"{key}-data"):
        try:
            return base64.b64decode(inline, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise KubeconfigError(f"{file}: {key}-data is no base64 of a PEM") from error
    return _beside(file, section.get(key))


def _token(file: Path, user: dict[str, Any]) -> str | None:
    token = user.get("token") or _beside(file, user.get("tokenFile"))
    return str(token).strip() if token else None


def _beside(file: Path, name: Any) -> str | None:
    if not name:
        return None
    try:
        return (file.parent / str(name)).read_text()
    except OSError as error:
        raise KubeconfigError(f"{file} names a file that cannot be read: {error}") from error
