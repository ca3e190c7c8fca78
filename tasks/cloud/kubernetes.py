"""Call the Kubernetes API. Objects are plain dicts, as on the wire."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, dynamic
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from tasks.cloud.aws import EKS_TOKEN_REFRESH_SECONDS, Aws
from tasks.records.errors import ClusterError
from tasks.records.results import Infrastructure

FIELD_MANAGER = "slipway"
Object = dict[str, Any]
Objects = list[Object]
Lines = list[str]  # inside the class `list` is the verb


# Retry what a control plane answers while it is busy or being upgraded, for some seconds, where a request may be
# repeated. urllib3 applies this to every request; the last answer counts.
RETRIES = urllib3.Retry(
    total=5,
    status_forcelist=(409, 429, 500, 502, 503, 504),
    allowed_methods=("GET", "PUT", "PATCH", "DELETE"),
    backoff_factor=0.2,
    backoff_max=5.0,
    raise_on_status=False,
)


class Cluster:
    """One cluster's API, made by `connect`. Safe to share between threads."""

    def __init__(
        self,
        api: client.ApiClient,
        name: str,
        token: Callable[[], str],
        scratch: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.api = api
        self.name = name
        self._token = token
        # the CA's file and the discovery cache, deleted with this object
        self._scratch = scratch
        self._dynamic: dynamic.DynamicClient | None = None
        self._lock = threading.Lock()

    def apply(self, document: Object, *, field_manager: str = FIELD_MANAGER, force: bool = True) -> Object:
        """Server-side apply of one whole object. Raises ClusterError."""
        with self._errors("apply", document["kind"], document["metadata"]["name"]):
            resource = self._resource(document["apiVersion"], document["kind"])
            return _plain(
                self._client().server_side_apply(
                    resource,
                    body=document,
                    name=document["metadata"]["name"],
                    namespace=document["metadata"].get("namespace"),
                    field_manager=field_manager,
                    force_conflicts=force,
                )
            )

    def try_create(self, document: Object) -> None:
        """Ask the API server to make one object and to forget it (dry run). Raises KubernetesRefused as it would."""
        metadata = document["metadata"]
        with self._errors(
            "create", document["kind"], metadata.get("name") or metadata.get("generateName", "")
        ):
            resource = self._resource(document["apiVersion"], document["kind"])
            self._client().create(
                resource, body=document, namespace=metadata.get("namespace"), query_params=[("dryRun", "All")]
            )

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object; None where it, or its kind, does not exist. Raises ClusterError."""
        with self._errors("read", kind, name):
            try:
                return _plain(self._client().get(self._resource(api_version, kind), name, namespace))
            except ApiException as error:
                if error.status == 404:
                    return None
                raise
            except ResourceNotFoundError:
                return None

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> Objects:
        """All objects of a kind; empty where the kind does not exist. Raises ClusterError."""
        with self._errors("list", kind, namespace or "all namespaces"):
            try:
                resource = self._resource(api_version, kind)
            except ResourceNotFoundError:
                return []
            answer = self._client().get(resource, namespace=namespace, label_selector=label_selector or None)
            return [
                {"apiVersion": api_version, "kind": kind, **item}
                for item in _plain(answer).get("items") or ()
            ]

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
    ) -> bool:
        """Ask for an object's deletion; False where it does not exist. Raises ClusterError."""
        with self._errors("delete", kind, name):
            try:
                self._client().delete(
                    self._resource(api_version, kind),
                    name,
                    namespace,
                    body={"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation},
                )
            except ApiException as error:
                if error.status == 404:
                    return False
                raise
            except ResourceNotFoundError:
                return False
            return True

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        body: Object,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch of an object or of its subresource ("scale", "status"). Raises ClusterError."""
        with self._errors("patch", kind, name):
            resource = self._resource(api_version, kind)
            target = resource.subresources[subresource] if subresource else resource
            return _plain(
                self._client().patch(
                    target, body, name, namespace, content_type="application/merge-patch+json"
                )
            )

    def events(self, namespace: str, involved_name: str) -> Lines:
        """An object's events as lines, oldest first: "Warning FailedScheduling: 0/3 nodes are available…"."""
        found = [
            event
            for event in self.list("v1", "Event", namespace)
            if event.get("involvedObject", {}).get("name") == involved_name
        ]
        found.sort(key=last_seen)
        return [f"{e.get('type')} {e.get('reason')}: {e.get('message')}" for e in found]

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        tail: int | None = 50,
        previous: bool = False,
        limit: int | None = None,
    ) -> str:
        """The last `tail` lines of a container's log, of these the first `limit` bytes; empty where it has not started.

        Logs are evidence for another failure: where the node does not answer, a line that says so stands for the log.
        """
        query: dict[str, Any] = {"previous": str(previous).lower()}
        query |= {
            key: value for key, value in (("tailLines", tail), ("limitBytes", limit)) if value is not None
        }
        if container:
            query["container"] = container
        try:
            return self.raw("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        except KubernetesRefused as error:
            if error.status in (400, 404):
                return ""
            if error.status >= 500:
                return f"(the log of {pod} cannot be read: the API server answers {error.status})"
            raise

    def service_proxy(
        self,
        namespace: str,
        service: str,
        port: int | str,
        path: str,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """GET a JSON document from a Service, through the API server's proxy. Raises ClusterError."""
        where = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/{path.lstrip('/')}"
        return json.loads(self.raw("GET", where, params))

    def raw(self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None) -> str:
        """Send one request to any path of the API; the answer's body. Raises KubernetesRefused."""
        with self._errors(method, "path", path):
            serialized = self.api.param_serialize(
                method=method,
                resource_path=path,
                query_params=list((params or {}).items()),
                header_params={"Accept": "*/*"},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self.api.call_api(*serialized, _request_timeout=(10, 60))
            response.read()
            text = (response.data or b"").decode(errors="replace")
            if response.status >= 400:
                raise ApiException(status=response.status, reason=text[:500])
            return text

    @contextmanager
    def kubeconfig(self) -> Iterator[Path]:
        """Write a kubeconfig with a short-lived token for helm, mode 0600, deleted at the end of the block."""
        configuration = self.api.configuration
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "slipway",
            "contexts": [{"name": "slipway", "context": {"cluster": self.name, "user": "slipway"}}],
            "clusters": [
                {
                    "name": self.name,
                    "cluster": {
                        "server": configuration.host,
                        "certificate-authority-data": base64.b64encode(
                            Path(configuration.ssl_ca_cert).read_bytes()
                        ).decode(),
                    },
                }
            ],
            "users": [{"name": "slipway", "user": {"token": self._token()}}],
        }
        with tempfile.NamedTemporaryFile("w", prefix="slipway-kubeconfig-", suffix=".yaml") as file:
            yaml.safe_dump(document, file)
            file.flush()
            yield Path(file.name)

    def _client(self) -> dynamic.DynamicClient:
        with self._lock:
            if self._dynamic is None:
                cache = Path(self._scratch.name) / "discovery.json"
                self._dynamic = dynamic.DynamicClient(self.api, cache_file=str(cache))
            return self._dynamic

    def _resource(self, api_version: str, kind: str) -> Any:
        return self._client().resources.get(api_version=api_version, kind=kind)

    @contextmanager
    def _errors(self, verb: str, kind: str, name: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            status = error.status or 0
            raise KubernetesRefused(verb, kind, name, status, _reason(error), self.name) from error
        except ResourceNotFoundError as error:
            raise KubernetesRefused(verb, kind, name, 404, str(error), self.name) from error
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(
                f"the Kubernetes API of {self.name} cannot be reached",
                evidence=[str(error)],
                next_command=f"aws eks describe-cluster --name {self.name} --query cluster.status",
            ) from error


# the API server's authorizer: `User "x" cannot create resource "pods" in API group ""`
_RIGHTS = re.compile(r"cannot \w+ (resource|path)|^Forbidden$")


class KubernetesRefused(ClusterError):
    """The API server refused a request; `status` is its HTTP code."""

    def __init__(
        self, verb: str, kind: str, name: str, status: int, reason: str, cluster: str = "NAME"
    ) -> None:
        # an object that may not be made (a quota, a policy, a namespace that goes) is no matter of who asks
        hint = None
        if status == 401 or (status == 403 and _RIGHTS.search(reason)):
            hint = f"aws eks list-access-entries --cluster-name {cluster}"
        super().__init__(
            f"{verb} {kind} {name}: the Kubernetes API answered {status}",
            evidence=[reason],
            next_command=hint,
        )
        self.status = status


def _reason(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)


def last_seen(event: Mapping[str, Any]) -> str:
    """When an event last happened: controllers count repetitions, the scheduler writes a series."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _plain(answer: Any) -> Object:
    document: Object = answer.to_dict()
    return document


def connect(infrastructure: Infrastructure, aws: Aws) -> Cluster:
    """Connect to an EKS cluster by its endpoint and CA, with a bearer token renewed every ten minutes."""
    issued: dict[str, Any] = {"at": -EKS_TOKEN_REFRESH_SECONDS, "token": ""}

    def token() -> str:
        if time.monotonic() - issued["at"] >= EKS_TOKEN_REFRESH_SECONDS:
            issued.update(at=time.monotonic(), token=aws.eks_token(infrastructure.cluster_name))
        return str(issued["token"])

    configuration = client.Configuration()
    configuration.host = infrastructure.endpoint
    configuration.verify_ssl = True
    configuration.retries = RETRIES

    def renew(current: client.Configuration) -> None:
        current.api_key["authorization"] = token()

    # the refresh hook is only called where a key is set already
    configuration.api_key["authorization"] = token()
    configuration.api_key_prefix["authorization"] = "Bearer"
    configuration.refresh_api_key_hook = renew
    scratch = tempfile.TemporaryDirectory(prefix="slipway-")
    authority = Path(scratch.name) / "ca.pem"
    authority.write_bytes(base64.b64decode(infrastructure.certificate_authority))
    configuration.ssl_ca_cert = str(authority)
    return Cluster(client.ApiClient(configuration), infrastructure.cluster_name, token, scratch)
